# Pyroscope's agent for Java, which posts recordings of JFR to /ingest.
install() { artifact io.pyroscope agent 2.9.2; }

profile() {
  export PYROSCOPE_APPLICATION_NAME=$agent PYROSCOPE_SERVER_ADDRESS=$FLAMESTORE_SERVER PYROSCOPE_LABELS=region=eu
  export PYROSCOPE_UPLOAD_INTERVAL=5s PYROSCOPE_PROFILER_ALLOC=64k
  javac -d . "$agents/java/Work.java"
  start java -javaagent:"$cache/jars/agent-2.9.2.jar" -cp . Work 120
  expect "process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name=\"$agent\",region=\"eu\"}" 'Work\.flameWorkHot' 'Work\.flameWorkCold'
  expect "memory:alloc_in_new_tlab_bytes:bytes:space:bytes{service_name=\"$agent\",region=\"eu\"}" 'Work\.flameWorkAllocate'
}
