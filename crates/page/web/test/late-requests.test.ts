// What the late views ask the server, with a server that is made up here.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Selection } from '../src/api/types';
import { functionCosts } from '../src/views/explore/costs';
import { askDetail, plannedDetail, type About } from '../src/views/explore/detail';
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

describe('what stands beside functions', () => {
  const HOUR = 3_600_000;
  const about: About = {
    selection: { query: 't{}', startUnixNano: '0', endUnixNano: '0' },
    span: { start: 0, end: 16 * HOUR },
    selector: { type: 't', matchers: [{ name: 'pod', operator: '=', value: 'p' }] },
    services: Array.from({ length: 20 }, (_, at) => `s${at}`),
    costs: functionCosts({ total: '100', functions: [{ name: 'f', self: '60', total: '60' }] }),
  };
  const asked = () => requests.map(({ body }) => body.selection as Selection);

  it('is the trend where the whole was quick, and services where it was slow', () => {
    const [hour, month] = [1, 720].map((hours) => ({ start: 0, end: hours * HOUR }));
    if (!hour || !month) throw new Error('no ranges');
    expect([50, 1000, 1500].map((took) => plannedDetail(took, 200, hour))).toEqual(['trend', 'trend', 'services']);
    expect([50, 1000, 1500].map((took) => plannedDetail(took, 200, month))).toEqual(['trend', 'services', 'services']);
    expect(plannedDetail(1500, 1, month)).toBe('trend');
  });

  it('over time is asked slice by slice, two at a time', async () => {
    let [running, most] = [0, 0];
    serve(async ({ body }) => {
      most = Math.max(most, ++running);
      await new Promise((done) => setTimeout(done, 1));
      running--;
      const { startUnixNano } = body.selection as Selection;
      return Response.json({ functions: [{ name: 'f', self: String(Number(startUnixNano) / 1e6 / HOUR + 1) }] });
    });
    const detail = await askDetail('trend', about, signal);
    expect(detail).toEqual({ kind: 'trend', points: new Map([['f', Array.from({ length: 16 }, (_, at) => at + 1)]]) });
    expect(most).toBe(2);
    expect(asked()[3]).toEqual({ query: 't{}', startUnixNano: String(3 * HOUR) + '000000', endUnixNano: String(4 * HOUR) + '000000' });
  });

  it('by service is asked for the largest ones', async () => {
    serve(() => Response.json({ functions: [{ name: 'f', self: '6' }] }));
    const detail = await askDetail('services', about, signal);
    expect(asked().map(({ query }) => query)).toEqual(Array.from({ length: 8 }, (_, at) => `t{service_name="s${at}", pod="p"}`));
    const parts = detail.kind === 'services' ? detail.parts.get('f') : undefined;
    expect(parts?.map(({ service, value }) => [service, value]).at(-1)).toEqual(['others', 12n]);
    expect(parts).toHaveLength(9);
  });
});
