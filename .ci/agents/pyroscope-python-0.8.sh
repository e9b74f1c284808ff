# An older one, which posts pprof to /ingest.
install() { python_packages; }

profile() {
  start "$cache/$agent/bin/python" "$agents/python/pyroscope_work.py" "$agent"
  expect "process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name=\"$agent\"}" flame_work_hot flame_work_cold
}
