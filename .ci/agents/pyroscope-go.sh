# Pyroscope's profiler for Go, which posts pprof in forms to /ingest.
install() { go_program pushed; }

profile() {
  start "$cache/$agent" "$agent"
  expect "process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name=\"$agent\",region=\"eu\"}" 'agents/work\.FlameWorkHot' 'agents/work\.FlameWorkCold'
  expect "memory:alloc_space:bytes:space:bytes{service_name=\"$agent\",region=\"eu\"}" 'agents/work\.FlameWorkAllocate'
}
