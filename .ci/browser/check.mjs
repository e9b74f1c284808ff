// Does Grafana's flame graph show what a plain loop over the pushed stacks counts?
//   node check.mjs FLAMESTORE DIST CHROMIUM
// Pushes two generated periods of folded stacks to a server of its own, asks Pyroscope's read API for a flame graph and a
// diff, has the component draw them in headless Chromium, and reads the functions and their numbers from the page.
import { spawn } from 'node:child_process';
import { createReadStream, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import puppeteer from 'puppeteer-core';

const [flamestore, dist, chromium] = process.argv.slice(2);
const TYPE = 'process_cpu:samples:count::';
const PERIODS = { before: '2026-05-01T10:00:00Z', after: '2026-05-01T12:00:00Z' };

/** Numbers that look random and are the same in every run (Lehmer's generator). */
function lehmer(seed) {
  let state = seed;
  return (below) => (state = (state * 48271) % 2147483647) % below;
}

/** Stacks of functions, root first, with values that stay below a thousand in sum, so that the page rounds none. */
function stacksOf(seed) {
  const random = lehmer(seed);
  return Array.from({ length: 60 }, () => ({
    frames: Array.from({ length: 1 + random(9) }, (_, depth) => `work.f${String((random(7) + depth * 3) % 24).padStart(2, '0')}`),
    value: 1 + random(15),
  }));
}

/** What each function spends: its own, and with all it calls; one that calls itself counts once. */
function oracle(stacks) {
  const functions = new Map();
  let total = 0;
  const entry = (name) => functions.get(name) ?? functions.set(name, { self: 0, total: 0 }).get(name);
  for (const { frames, value } of stacks) {
    total += value;
    entry(frames.at(-1)).self += value;
    for (const name of new Set(frames)) entry(name).total += value;
  }
  return { functions, total };
}

function assertEqual(found, expected, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: found ${a}, expected ${b}`);
}

/** Whether a percentage is shown as `expected`, rounded to the three digits that the page gives. */
function assertRounded(shown, expected, what) {
  const found = Number(shown?.replace('%', '').replace(/(\d)\s*K/, '$1e3'));
  const digit = expected === 0 ? 0 : 10 ** (Math.floor(Math.log10(Math.abs(expected))) - 2);
  if (!(Math.abs(found - expected) <= digit * 0.51 + 1e-9)) throw new Error(`${what}: found ${shown}, expected ${expected} %`);
}

function run(command, args) {
  return new Promise((done, failed) => {
    const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'], timeout: 60_000 });
    child.on('error', failed);
    child.on('exit', (code) => (code === 0 ? done() : failed(new Error(`${command} ${args.join(' ')}: exit code ${code}`))));
  });
}

async function startServer() {
  const child = spawn(flamestore, ['serve', '--store', 'memory:', '--listen', '127.0.0.1:0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 300_000,
  });
  let text = '';
  const address = await new Promise((found, failed) => {
    const look = (chunk) => {
      text += chunk;
      const match = /http:\/\/127\.0\.0\.1:\d+/.exec(text);
      if (match) found(match[0]);
    };
    child.stdout.on('data', look);
    child.stderr.on('data', look);
    child.on('exit', () => failed(new Error(`the server ended: ${text}`)));
    setTimeout(() => failed(new Error(`the server printed no address: ${text}`)), 60_000).unref();
  });
  return { address, stop: () => child.kill('SIGTERM') };
}

/** Serves the built page on a free port of loopback. */
async function startPage() {
  const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url, 'http://page').pathname);
    const file = join(dist, path === '/' ? 'index.html' : path);
    if (!file.startsWith(dist) || !existsSync(file) || !statSync(file).isFile()) return response.writeHead(404).end();
    response.writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream' });
    createReadStream(file).pipe(response);
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return { address: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}

const server = await startServer();
const page = await startPage();
const folder = mkdtempSync(join(tmpdir(), 'flame-graph-'));
let browser;

async function ask(method, request) {
  const answer = await fetch(`${server.address}/querier.v1.QuerierService/${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(request),
  });
  if (!answer.ok) throw new Error(`${method}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

/** One hour around the time of a period. */
function selection(period) {
  const time = Date.parse(PERIODS[period]);
  return {
    profileTypeID: TYPE,
    labelSelector: '{service_name="work"}',
    start: String(time - 1_800_000),
    end: String(time + 1_800_000),
    maxNodes: '8192',
  };
}

/** The cells of the table that the component shows, a list for each row. It shows a part at a time and is scrolled through. */
async function shownRows(tab, graph, sides, rows) {
  await tab.evaluate((graph, sides) => window.show(graph, sides), graph, sides);
  const script = (turn) => {
    const table = document.querySelector('[data-testid="topTable"]');
    if (!table) return [];
    const scrolled = [...table.querySelectorAll('*')].filter((part) => part.scrollHeight > part.clientHeight + 1);
    for (const part of scrolled) part.scrollTop = (turn % 20) * part.clientHeight * 0.5;
    return [...table.querySelectorAll('[role="row"]')]
      .map((row) => [...row.querySelectorAll('[role="cell"]')].map((cell) => cell.innerText.trim()))
      .filter((cells) => cells.length > 0);
  };
  const found = new Map();
  for (let turn = 0; turn < 100 && found.size < rows; turn++) {
    for (const cells of await tab.evaluate(script, turn)) found.set(cells[1], cells.slice(2));
    await new Promise((later) => setTimeout(later, 100));
  }
  if (found.size !== rows) throw new Error(`the table shows ${found.size} rows of ${rows}: ${JSON.stringify([...found])}`);
  return found;
}

/** What part of the canvas is coloured. */
function drawnShare(tab) {
  return tab.evaluate(() => {
    const canvas = document.querySelector('canvas[data-testid="flameGraph"]');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let drawn = 0;
    for (let at = 3; at < data.length; at += 4) drawn += data[at] > 0 ? 1 : 0;
    return drawn / (data.length / 4);
  });
}

try {
  const stacks = { before: stacksOf(11), after: stacksOf(22) };
  stacks.before.push({ frames: ['work.f01', 'work.gone'], value: 9 });
  stacks.after.push({ frames: ['work.f01', 'work.come'], value: 7 });
  for (const [period, time] of Object.entries(PERIODS)) {
    const file = join(folder, `${period}.folded`);
    writeFileSync(file, stacks[period].map(({ frames, value }) => `${frames.join(';')} ${value}\n`).join(''));
    await run(flamestore, ['push', file, '--server', server.address, '--service-name', 'work', '--time', time]);
  }
  const { flamegraph } = await ask('SelectMergeStacktraces', selection('after'));
  const diff = (await ask('Diff', { left: selection('before'), right: selection('after') })).flamegraph;

  browser = await puppeteer.launch({ executablePath: chromium, args: ['--no-sandbox', '--disable-gpu'], timeout: 60_000 });
  const tab = await browser.newPage();
  await tab.setViewport({ width: 1700, height: 4000 });
  const complaints = [];
  tab.on('pageerror', (error) => complaints.push(String(error)));
  await tab.goto(page.address, { waitUntil: 'load' });

  const [before, after] = [oracle(stacks.before), oracle(stacks.after)];
  after.functions.set('total', { self: 0, total: after.total });
  before.functions.set('total', { self: 0, total: before.total });
  const single = await shownRows(tab, flamegraph, 1, after.functions.size);
  for (const [name, { self, total }] of after.functions) {
    assertEqual(single.get(name), [String(self), String(total)], `self and total of ${name}`);
  }
  const drawn = await drawnShare(tab);
  if (drawn < 0.2) throw new Error(`only ${drawn} of the canvas is drawn`);

  const names = new Set([...before.functions.keys(), ...after.functions.keys()]);
  const double = await shownRows(tab, diff, 2, names.size);
  // The component rounds shares to hundredths of a percent before it compares them.
  for (const name of names) {
    const [left, right] = [before, after].map((side) => Math.round(((side.functions.get(name)?.total ?? 0) / side.total) * 10_000) / 100);
    const [baseline, comparison, change] = double.get(name) ?? [];
    assertRounded(baseline, left, `share of ${name} before`);
    assertRounded(comparison, right, `share of ${name} after`);
    if (left === 0) assertEqual(change, 'new', `change of ${name}`);
    else if (right === 0) assertEqual(change, 'removed', `change of ${name}`);
    else assertRounded(change, ((right - left) / left) * 100, `change of ${name}`);
  }
  const drawnDiff = await drawnShare(tab);
  if (drawnDiff < 0.2) throw new Error(`only ${drawnDiff} of the canvas of the diff is drawn`);
  assertEqual(complaints, [], 'errors of the page');
  console.log(`${after.functions.size} functions of a flame graph and ${names.size} of a diff are shown as counted`);
} finally {
  await browser?.close();
  page.stop();
  server.stop();
  rmSync(folder, { recursive: true, force: true });
}
