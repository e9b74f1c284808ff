# A recording of Java Flight Recorder.
install() { need javac openjdk-17-jdk-headless; }

profile() {
  javac -d . "$agents/java/Work.java"
  start java -XX:StartFlightRecording=filename=recording.jfr,settings=profile -cp . Work 8
  wait $!
  "$FLAMESTORE" push recording.jfr --service-name "$agent" --label region=eu
  expect "process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name=\"$agent\",region=\"eu\"}" 'Work\.flameWorkHot' 'Work\.flameWorkCold'
  expect "memory:alloc_sample_bytes:bytes:space:bytes{service_name=\"$agent\",region=\"eu\"}" 'Work\.flameWorkAllocate'
}
