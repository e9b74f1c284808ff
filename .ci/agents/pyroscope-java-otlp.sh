# The same agent as it sends OpenTelemetry's profiles, which name neither a service nor labels.
install() { artifact io.pyroscope agent 2.9.2; }

profile() {
  export FLAMESTORE_TENANT=$agent PYROSCOPE_TENANT_ID=$agent PYROSCOPE_SERVER_ADDRESS=$FLAMESTORE_SERVER
  export PYROSCOPE_FORMAT=otlp PYROSCOPE_UPLOAD_INTERVAL=5s
  javac -d . "$agents/java/Work.java"
  start java -javaagent:"$cache/jars/agent-2.9.2.jar" -cp . Work 120
  expect "process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name=\"unknown_service\"}" 'Work\.flameWorkHot' 'Work\.flameWorkCold'
}
