# async-profiler's own OpenTelemetry profile, which it writes to a file and which names no service.
install() { artifact tools.profiler async-profiler 4.5; }

profile() {
  local library
  library="linux-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')/libasyncProfiler.so"
  jar xf "$cache/jars/async-profiler-4.5.jar" "$library"
  javac -d . "$agents/java/Work.java"
  start java -agentpath:"./$library=start,event=ctimer,otlp,file=profile" -cp . Work 6
  wait $!
  export FLAMESTORE_TENANT=$agent
  post profile /v1development/profiles application/x-protobuf
  expect "process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name=\"unknown_service\"}" 'Work\.flameWorkHot' 'Work\.flameWorkCold'
}
