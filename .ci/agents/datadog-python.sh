# Datadog's profiler for Python.
install() { python_packages; }

profile() {
  export DD_SERVICE=$agent DD_ENV=eu DD_TRACE_AGENT_URL=$FLAMESTORE_SERVER DD_PROFILING_UPLOAD_INTERVAL=5 DD_TRACE_ENABLED=false
  export DD_INSTRUMENTATION_TELEMETRY_ENABLED=false DD_REMOTE_CONFIGURATION_ENABLED=false
  start "$cache/$agent/bin/python" "$agents/python/datadog_work.py"
  expect "process_cpu:cpu-time:nanoseconds:cpu-time:nanoseconds{service_name=\"$agent\",env=\"eu\"}" flame_work_hot flame_work_cold
  expect "wall-time:wall-time:nanoseconds:cpu-time:nanoseconds{service_name=\"$agent\",env=\"eu\"}" flame_work_hot flame_work_cold
}
