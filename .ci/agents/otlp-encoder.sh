# Not a profiler: OpenTelemetry's own encoder of its profiles, whose request is known to the last value.
install() { python_packages; }

profile() {
  "$cache/$agent/bin/python" "$agents/python/otlp_send.py" "$agent"
  for way in grpc protobuf json; do
    folded 'process_cpu:samples:count:cpu:nanoseconds' 'main;flame_work;flame_work_hot 3' 'main;flame_work_cold 1'
    folded 'process_cpu:cpu:nanoseconds:cpu:nanoseconds' 'main;flame_work;flame_work_hot 150000000' 'main;flame_work_cold 50000000'
    folded 'off_cpu:off_cpu:nanoseconds::' 'main;flame_wait 12'
    folded 'memory:alloc_space:bytes:space:bytes' 'main;Größe 1099511627776' 'main;flame_work_allocate 4096'
  done
}

# Whether a profile type holds these lines and no others.
folded() {
  local selector="$1{service_name=\"$agent-$way\",region=\"eu\"}"
  shift
  "$FLAMESTORE" merge --query "$selector" --to now+1m --format folded | LC_ALL=C sort >is
  printf '%s\n' "$@" | LC_ALL=C sort >wanted
  diff -u wanted is
  echo "found $selector: $# stacks"
}
