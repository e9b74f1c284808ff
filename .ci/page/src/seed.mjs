// What is pushed to the server: an hour of a service with two versions, another service with two types, a deep one; and what
// a plain loop over it counts.
import { eventually } from './assert.mjs';

export const CPU = 'process_cpu:cpu:nanoseconds:cpu:nanoseconds';
export const SPACE = 'memory:alloc_space:bytes::';
/** Nanoseconds of a sample. */
export const SAMPLE = 10_000_000;
const MINUTE = 60_000;

/** Numbers that look random and are the same in every run (Lehmer's generator). */
export function lehmer(seed) {
  let state = seed;
  return (below) => (state = (state * 48271) % 2147483647) % below;
}

/** Stacks of functions, root first, with a number of samples each. */
function work(seed) {
  const random = lehmer(seed);
  return Array.from({ length: 40 }, () => ({
    frames: ['work.main', ...Array.from({ length: 1 + random(7) }, (_, depth) => `work.f${String((random(7) + depth * 3) % 24).padStart(2, '0')}`)],
    value: 1 + random(15),
  }));
}

/** What a minute of the service does: half of an hour one version, half the other; in sum the same. */
function minute(at) {
  const isNew = at >= 30;
  const stack = (text, value) => ({ frames: text.split(';'), value });
  return [
    ...work(11 + (at % 30)),
    stack('work.main;work.price;work.slow', isNew ? 40 : 20),
    stack('work.main;work.search;work.quick', isNew ? 20 : 40),
    stack(isNew ? 'work.main;work.come' : 'work.main;work.gone', 9),
  ];
}

/** A call tree of more nodes than any view asks for at first: each function calls a few others. */
function deep(nodes) {
  const random = lehmer(7);
  const stacks = [];
  const grow = (frames) => {
    if (stacks.length >= nodes) return;
    stacks.push({ frames, value: 1 + random(9) });
    if (frames.length > 12) return;
    for (let at = 1 + random(4); at > 0; at--) grow([...frames, `deep/p${random(12)}.f${random(400)}`]);
  };
  for (let root = 0; stacks.length < nodes; root++) grow(['deep.main', `deep/root.f${root}`]);
  return stacks;
}

/** All profiles: service, labels, kind, time in milliseconds, stacks. */
function profiles(end) {
  const all = [];
  for (let at = 0; at < 60; at++) {
    const labels = { version: at >= 30 ? '1.1' : '1.0', region: at % 2 ? 'us' : 'eu' };
    all.push({ service: 'api', labels, kind: 'cpu', time: end - (60 - at) * MINUTE, stacks: minute(at) });
  }
  for (let at = 0; at < 12; at++) {
    const time = end - (60 - at * 5) * MINUTE;
    all.push({ service: 'web', labels: { pod: `web-${at % 3}` }, kind: 'cpu', time, stacks: work(101 + at).slice(0, 12) });
    all.push({ service: 'web', labels: { pod: `web-${at % 3}` }, kind: 'alloc_space', time, stacks: work(201 + at).slice(0, 9) });
  }
  all.push(deepProfile(end - 30 * MINUTE));
  return all;
}

/** A profile of a service of its own, of 70,000 nodes. */
export function deepProfile(time) {
  return { service: 'deep', labels: {}, kind: 'cpu', time, stacks: deep(70_000) };
}

/** Pushes a profile as folded text. */
export async function push(server, { service, labels, kind, time, stacks }) {
  const names = Object.entries(labels).map(([name, value]) => `${name}=${value}`).join(',');
  const url = new URL('/ingest', server.address);
  url.searchParams.set('name', `${service}.${kind}{${names}}`);
  url.searchParams.set('from', String(time / 1000));
  url.searchParams.set('until', String(time / 1000 + 10));
  if (kind === 'alloc_space') url.searchParams.set('units', 'bytes');
  const body = stacks.map(({ frames, value }) => `${frames.join(';')} ${value}\n`).join('');
  const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'text/plain' }, body });
  if (!answer.ok) throw new Error(`a profile was refused: ${answer.status} ${await answer.text()}`);
}

/** Pushes everything to `server`; tells when the hour ends and how to count what is in it. */
export async function seed(server) {
  const end = Math.floor(Date.now() / MINUTE) * MINUTE;
  const pushed = profiles(end);
  for (const profile of pushed) await push(server, profile);
  // what the page shows is then of segments, and not of memory alone
  const held = async () => Number((await server.ask('flamestore.v1.StatusService/Head', {})).profiles ?? 0);
  await eventually(async () => (await held()) === 0, 'everything is in segments');
  return { start: end - 60 * MINUTE, middle: end - 30 * MINUTE, end, count: (service, matches) => count(pushed, service, matches) };
}

/** What each function of the CPU profiles of a service spends, in nanoseconds: its own, and with all it calls; a function that calls itself counts once. */
function count(pushed, service, matches = () => true) {
  const functions = new Map();
  let total = 0;
  const entry = (name) => functions.get(name) ?? functions.set(name, { self: 0, total: 0 }).get(name);
  for (const { stacks } of pushed.filter((each) => each.service === service && each.kind === 'cpu' && matches(each))) {
    for (const { frames, value } of stacks) {
      total += value * SAMPLE;
      entry(frames.at(-1)).self += value * SAMPLE;
      for (const name of new Set(frames)) entry(name).total += value * SAMPLE;
    }
  }
  return { functions, total };
}
