# A program of Go that serves its profiles with net/http/pprof, scraped by the server's job of this name.
install() { go_program scraped; }

profile() {
  start "$cache/$agent" >address
  for _ in $(seq 1 100); do [ -s address ] && break; sleep 0.1; done
  printf '[{"targets": ["%s"], "labels": {"region": "eu"}}]' "$(cat address)" >target
  mv target "$folder/targets/$agent.json"
  expect "process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name=\"$agent\",region=\"eu\"}" 'agents/work\.FlameWorkHot' 'agents/work\.FlameWorkCold'
  expect "memory:alloc_space:bytes:space:bytes{service_name=\"$agent\",region=\"eu\"}" 'agents/work\.FlameWorkAllocate'
}
