// What the late views ask the server, with a server that is made up here.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Selection } from '../src/api/types';
import { askTrend, isTrendQuick } from '../src/views/explore/trend';
import { queryOf } from '../src/views/explore/ranked';
import { ask, fileOf, limitOf } from '../src/views/sql/ask';

interface Request {
  path: string;
  body: Record<string, unknown>;
}

const storage = { getItem: () => null, setItem() {}, removeItem() {} };
let requests: Request[] = [];

/** Answers every request with what `answer` makes of it. */
function serve(answer: (request: Request) => Response | Promise<Response>) {
  vi.stubGlobal('document', { baseURI: 'http://page/prefix/' });
  vi.stubGlobal('localStorage', storage);
  vi.stubGlobal('sessionStorage', storage);
  vi.stubGlobal('fetch', async (url: URL, init: RequestInit) => {
    const request = { path: url.pathname, body: JSON.parse(String(init.body)) as Record<string, unknown> };
    requests.push(request);
    return answer(request);
  });
}

beforeEach(() => (requests = []));
afterEach(() => vi.unstubAllGlobals());

const signal = new AbortController().signal;

describe('a statement', () => {
  const rows = '{"columns":[{"name":"n","type":"Int64"}],"rows":[\n[1],\n[2]\n]}\n';

  it('is posted below the prefix of the page, and its rows are seen as they come', async () => {
    const parts = [rows.slice(0, -6), rows.slice(-6)].map((part) => new TextEncoder().encode(part));
    serve(() => new Response(new ReadableStream({ pull: (to) => void (parts.length ? to.enqueue(parts.shift()) : to.close()) })));
    const seen: number[] = [];
    const answer = await ask('SELECT n', 10, signal, (far) => seen.push(far.rows.length));
    expect(answer.rows).toEqual([[1], [2]]);
    expect(seen).toEqual([1, 2]);
    expect(requests).toEqual([{ path: '/prefix/api/v1/sql', body: { query: 'SELECT n', format: 'json', limit: 10 } }]);
  });

  it('that is refused fails in the words of the server', async () => {
    const refusal = JSON.stringify({ code: 'invalid_argument', message: "table 'x' not found" });
    serve(() => new Response(refusal, { status: 400 }));
    await expect(ask('SELECT', 0, signal)).rejects.toMatchObject({ code: 'invalid_argument', message: "table 'x' not found", status: 400 });
  });

  it('whose answer breaks off fails, however much of it came', async () => {
    for (const length of [0, 20, rows.length - 4]) {
      serve(() => new Response(rows.slice(0, length)));
      await expect(ask('SELECT', 0, signal)).rejects.toMatchObject({ code: 'broken_off' });
    }
  });

  it('is saved in the form that was asked for', async () => {
    serve(() => new Response('n\n1\n'));
    const file = await fileOf('SELECT n', 'csv', 5, signal);
    expect(await file.text()).toBe('n\n1\n');
    expect(requests[0]?.body).toEqual({ query: 'SELECT n', format: 'csv', limit: 5 });
  });

  it('has the limit of the URL where that is a number', () => {
    expect(['0', '100', undefined, '', '-1', '1e3'].map(limitOf)).toEqual([0, 100, 10_000, 10_000, 10_000, 10_000]);
  });
});

describe('the trend of functions', () => {
  const HOUR = 3_600_000;

  it('is asked for where the whole was quick', () => {
    const [hour, month] = [1, 720].map((hours) => ({ start: 0, end: hours * HOUR }));
    if (!hour || !month) throw new Error('no ranges');
    expect([50, 1000, 1500].map((took) => isTrendQuick(took, hour))).toEqual([true, true, false]);
    expect([50, 1000, 1500].map((took) => isTrendQuick(took, month))).toEqual([true, false, false]);
  });

  it('is asked for slice by slice, two at a time', async () => {
    let [running, most] = [0, 0];
    serve(async ({ body }) => {
      most = Math.max(most, ++running);
      await new Promise((done) => setTimeout(done, 1));
      running--;
      const { startUnixNano } = body.selection as Selection;
      return Response.json({ functions: [{ name: 'f', self: String(Number(startUnixNano) / 1e6 / HOUR + 1) }] });
    });
    const selection = { query: 't{}', startUnixNano: '0', endUnixNano: '0' };
    const trend = await askTrend(selection, { start: 0, end: 16 * HOUR }, ['f', 'g'], signal);
    expect([...trend]).toEqual([
      ['f', Array.from({ length: 16 }, (_, at) => at + 1)],
      ['g', Array(16).fill(0)],
    ]);
    expect(most).toBe(2);
    expect(requests[3]?.body.selection).toEqual({ query: 't{}', startUnixNano: `${3 * HOUR}000000`, endUnixNano: `${4 * HOUR}000000` });
  });
});

describe('the query of a service', () => {
  it('keeps the other labels, and names profiles without a service', () => {
    const selector = { type: 't', matchers: [{ name: 'pod', operator: '=' as const, value: 'p' }] };
    expect(queryOf(selector, 'api')).toBe('t{service_name="api", pod="p"}');
    expect(queryOf(selector, '')).toBe('t{service_name="", pod="p"}');
  });
});
