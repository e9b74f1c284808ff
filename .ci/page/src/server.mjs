// Servers of the binary under test, each in a process of its own, and a proxy before one.
import { spawn } from 'node:child_process';
import { createServer, request as forward } from 'node:http';

const ADDRESS = /listening on (http:\/\/127\.0\.0\.1:\d+)/;

/** Starts a command that says where it listens; `line` waits for more that it says. */
export async function start(flamestore, args) {
  const child = spawn(flamestore, [...args, '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'pipe'], timeout: 1_200_000 });
  const said = { out: '', err: '' };
  const watchers = new Set();
  for (const name of ['out', 'err']) {
    child[`std${name}`].on('data', (chunk) => {
      said[name] += chunk;
      for (const watch of watchers) watch();
    });
  }
  const ended = new Promise((done) => child.on('exit', done));
  const find = (pattern) =>
    new Promise((found, failed) => {
      const timer = setTimeout(() => failed(new Error(`${pattern} was not said: ${said.out}${said.err}`)), 120_000);
      const watch = () => {
        const match = pattern.exec(said.out);
        if (!match) return;
        clearTimeout(timer);
        watchers.delete(watch);
        found(match);
      };
      watchers.add(watch);
      child.on('exit', () => failed(new Error(`the server ended: ${said.err}`)));
      watch();
    });
  const [, address] = await find(ADDRESS);
  return {
    address,
    find,
    ask: (method, message, headers) => ask(address, method, message, headers),
    metrics: () => fetch(`${address}/metrics`).then((answer) => answer.text()),
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** The answer of a method of the API, as JSON. */
async function ask(address, method, message) {
  const service = method.includes('/') ? method : `flamestore.v1.QueryService/${method}`;
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${address}/${service}`, { method: 'POST', headers, body: JSON.stringify(message) });
  if (!answer.ok) throw new Error(`${method}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

/** Requests that hold a place on a server now. */
export async function running(server) {
  const match = /^flamestore_requests_running (\d+)/m.exec(await server.metrics());
  return match ? Number(match[1]) : 0;
}

/** A proxy that takes `prefix` off the paths of `address`, and can hold requests back. */
export async function proxy(address, prefix) {
  const held = { pattern: undefined, waiting: 0, left: 0 };
  const server = createServer((incoming, outgoing) => {
    if (!incoming.url.startsWith(prefix)) return outgoing.writeHead(404).end();
    if (held.pattern?.test(incoming.url)) {
      held.waiting += 1;
      outgoing.on('close', () => (held.left += 1));
      return;
    }
    const url = new URL(incoming.url.slice(prefix.length - 1), address);
    const passed = forward(url, { method: incoming.method, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
    });
    passed.on('error', () => outgoing.destroy());
    outgoing.on('close', () => passed.destroy());
    incoming.pipe(passed);
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return {
    address: `http://127.0.0.1:${server.address().port}${prefix.slice(0, -1)}`,
    held,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}
