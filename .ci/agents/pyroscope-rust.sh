# Pyroscope's profiler for Rust, which pushes over Connect.
install() {
  CARGO_TARGET_DIR="$cache/$agent" CARGO_INCREMENTAL=0 cargo build --locked --manifest-path "$agents/rust/Cargo.toml"
}

profile() {
  start "$cache/$agent/debug/flamestore-agents" "$agent"
  expect "process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name=\"$agent\",region=\"eu\"}" \
    'flamestore_agents::flame_work_hot' 'flamestore_agents::flame_work_cold'
}
