// Explore over 200 services and 30 days: answered from roll-ups, in how many milliseconds. Asked for by name alone, as filling
// the store takes minutes.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assert, assertEqual } from '../assert.mjs';
import { open, shown, visit } from '../browser.mjs';
import { cellOf, nanos, rowsOf } from '../reading.mjs';
import { CPU, lehmer } from '../seed.mjs';
import { start } from '../server.mjs';
import { PATIENCE } from '../timing.mjs';

const SERVICES = Number(process.env.FLAMESTORE_PAGE_SERVICES ?? 200);
const DAYS = Number(process.env.FLAMESTORE_PAGE_DAYS ?? 30);
/** Profiles of a service in a day. */
const OF_DAY = 4;
const PUSHED_AT_ONCE = 16;
const WANTED = 2_000;
const DAY = 86_400_000;

export async function checkFleet({ browser, flamestore }) {
  const folder = mkdtempSync(join(tmpdir(), 'flamestore-fleet-'));
  const end = Math.floor(Date.now() / DAY) * DAY;
  try {
    // Two runs, each of which flushes at its end: then there is something to merge for every day.
    for (let half = 0; half < 2; half++) {
      const server = await start(flamestore, ['serve', '--store', join(folder, 'store'), '--roles', 'ingest,query']);
      try {
        await fill(server, end, half);
      } finally {
        await server.stop();
      }
    }
    execFileSync(flamestore, ['store', 'compact', '--all', '--store', join(folder, 'store')], { stdio: ['ignore', 'ignore', 'inherit'] });
    const server = await start(flamestore, ['serve', '--store', join(folder, 'store')]);
    try {
      await explore(browser, server, { view: 'explore', query: `${CPU}{}`, from: end - DAYS * DAY, to: end });
    } finally {
      await server.stop();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The functions that a service calls, and how often. */
function work(service, at) {
  const random = lehmer(1 + service * 997);
  const of = (service % 7) + 1;
  const frames = Array.from({ length: 60 }, () =>
    ['main', ...Array.from({ length: 2 + random(12) }, (_, depth) => `p${random(3) < 1 ? 'shared' : service}.f${random(9) + depth * 5}`)].join(';'),
  );
  return frames.map((stack, number) => `${stack} ${of * (1 + ((number * 7 + at) % 13))}\n`).join('');
}

/** Pushes every second profile of each service. */
async function fill(server, end, half) {
  const pushes = [];
  for (let day = 0; day < DAYS; day++) {
    for (let at = half; at < OF_DAY; at += 2) {
      const time = end - (DAYS - day) * DAY + ((at + 0.5) * DAY) / OF_DAY;
      for (let service = 0; service < SERVICES; service++) pushes.push({ service, time, at: day * OF_DAY + at });
    }
  }
  const total = pushes.length;
  const push = async ({ service, time, at }) => {
    const url = new URL('/ingest', server.address);
    url.searchParams.set('name', `service-${String(service).padStart(3, '0')}.cpu{}`);
    url.searchParams.set('from', String(time / 1000));
    url.searchParams.set('until', String(time / 1000 + 10));
    const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: work(service, at) });
    if (!answer.ok) throw new Error(`a profile was refused: ${answer.status} ${await answer.text()}`);
  };
  const worker = async () => {
    for (let next = pushes.pop(); next; next = pushes.pop()) await push(next);
  };
  await Promise.all(Array.from({ length: PUSHED_AT_ONCE }, worker));
  console.log(`${total} profiles of ${SERVICES} services and ${DAYS} days are pushed`);
}

/** Opens the view twice, the second time warm. */
async function explore(browser, server, parameters) {
  for (const when of ['at first', 'warm']) {
    const page = await open(browser);
    const started = performance.now();
    await visit(page, server.address, parameters);
    const ready = performance.now() - started;
    await shown(page, 'explore');
    console.log(`Explore over ${SERVICES} services and ${DAYS} days answers ${when} after ${ready.toFixed(0)} ms (wanted: ${WANTED})`);
    assert(ready < PATIENCE * WANTED, `Explore takes ${ready} ms`);
    const services = await rowsOf(page, 'explore-services');
    const selection = { query: `${CPU}{}`, startUnixNano: nanos(parameters.from), endUnixNano: nanos(parameters.to) };
    const { lines, report } = await server.ask('TimeSeries', { selection, stepNano: nanos(DAYS * DAY), groupBy: ['service_name'] });
    const totals = new Map();
    for (const { labels, points } of lines) {
      const name = labels.find((label) => label.name === 'service_name').value;
      totals.set(name, points.reduce((sum, { total }) => sum + BigInt(total), totals.get(name) ?? 0n));
    }
    assertEqual(services.length > 0 && totals.size, SERVICES, 'services');
    for (const { name, cells } of services) assertEqual(cellOf({ cells }, 'total').value, String(totals.get(name)), `the total of ${name}`);
    assert(Number(report?.windows1d ?? 0) + Number(report?.windows30d ?? 0) > 0, 'days are answered from roll-ups');
    await page.leave();
  }
}
