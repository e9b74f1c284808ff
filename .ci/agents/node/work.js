// Work for Pyroscope's package to find: `flameWorkHot` takes three times as long as `flameWorkCold`. work.js SERVICE
const Pyroscope = require('@pyroscope/nodejs');

function burn(times) {
  let number = 1;
  for (let i = 0; i < times * 1e6; i++) number = (Math.imul(number, 1103515245) + 12345) & 0x7fffffff;
  return number;
}

function flameWorkHot() {
  return burn(15) + 1;
}

function flameWorkCold() {
  return burn(5) + 1;
}

const kept = [];
function flameWorkAllocate() {
  kept.push(Array.from({ length: 1000 }, (_, number) => ({ number })));
  if (kept.length > 500) kept.length = 0;
}

function flameWork() {
  flameWorkHot();
  flameWorkCold();
  flameWorkAllocate();
  setImmediate(flameWork);
}

Pyroscope.init({
  serverAddress: process.env.FLAMESTORE_SERVER,
  appName: process.argv[2],
  tags: { region: 'eu' },
  flushIntervalMs: 5000,
  wall: { collectCpuTime: true },
});
Pyroscope.start();
flameWork();
