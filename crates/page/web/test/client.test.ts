import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ApiError, progressOf, query, sql } from '../src/api/client';
import { keepSettings } from '../src/api/settings';

const kept = () => {
  const values = new Map<string, string>();
  return {
    getItem: (name: string) => values.get(name) ?? null,
    setItem: (name: string, value: string) => void values.set(name, value),
    removeItem: (name: string) => void values.delete(name),
  };
};

/** Answers every request with this, and remembers the last one. */
function answering(response: Response | Error) {
  const asked: { url?: string; init?: RequestInit } = {};
  vi.stubGlobal('fetch', async (url: URL, init: RequestInit) => {
    Object.assign(asked, { url: String(url), init });
    if (response instanceof Error) throw response;
    return response;
  });
  return asked;
}

beforeEach(() => {
  vi.stubGlobal('document', { baseURI: 'http://host:4040/below/' });
  vi.stubGlobal('localStorage', kept());
  vi.stubGlobal('sessionStorage', kept());
});
afterEach(() => vi.unstubAllGlobals());

describe('requests', () => {
  it('go to the server beside the page, below its prefix', async () => {
    const asked = answering(Response.json({ total: '3' }));
    expect(await query('Top', { limit: 5 })).toEqual({ total: '3' });
    expect(asked.url).toBe('http://host:4040/below/flamestore.v1.QueryService/Top');
    expect(asked.init).toMatchObject({ method: 'POST', body: '{"limit":5}' });
  });

  it('say whose profiles are asked for, and with which token', async () => {
    keepSettings({ tenant: 'team-a', token: 'secret' });
    const asked = answering(Response.json({}));
    await query('Top', {});
    expect(asked.init?.headers).toMatchObject({ 'x-scope-orgid': 'team-a', authorization: 'Bearer secret' });
    keepSettings({ tenant: '', token: '' });
    const after = answering(Response.json({}));
    await query('Top', {});
    expect(Object.keys(after.init!.headers!)).toEqual(['content-type']);
  });

  it('have the id by which the server is asked how far it is with them', async () => {
    const [first, second, looking] = [new AbortController(), new AbortController(), new AbortController()];
    const idOf = async (signal: AbortSignal) => {
      const asked = answering(Response.json({}));
      await query('Top', {}, signal);
      return (asked.init!.headers as Record<string, string>)['flamestore-query-id'];
    };
    const id = await idOf(first.signal);
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect(await idOf(first.signal)).toBe(id);
    expect(await idOf(second.signal)).not.toBe(id);
    const asked = answering(Response.json({ running: true, segments: '9', segmentsDone: '4' }));
    expect(await progressOf(first.signal, looking.signal)).toEqual({ running: true, segments: '9', segmentsDone: '4' });
    expect(asked.url).toBe('http://host:4040/below/flamestore.v1.StatusService/Progress');
    expect(JSON.parse(asked.init!.body as string)).toEqual({ queryId: id });
  });

  it('send statements of SQL with their limit', async () => {
    const asked = answering(Response.json({ columns: [], rows: [] }));
    await sql('SELECT 1', 10);
    expect(asked.url).toBe('http://host:4040/below/api/v1/sql');
    expect(JSON.parse(asked.init!.body as string)).toEqual({ query: 'SELECT 1', format: 'json', limit: 10 });
  });
});

describe('what the server refuses', () => {
  const check = async (response: Response | Error, expected: Partial<ApiError>) => {
    answering(response);
    await expect(query('Top', {})).rejects.toMatchObject(expected);
  };

  it('is told in its words', async () => {
    const body = { code: 'invalid_argument', message: 'label name 3 is empty' };
    await check(Response.json(body, { status: 400 }), { code: 'invalid_argument', message: 'label name 3 is empty', status: 400 });
  });

  it('may be no JSON', async () => {
    await check(new Response('bad gateway\n', { status: 502 }), { code: 'unknown', message: 'bad gateway', status: 502 });
  });

  it('may be no answer at all', async () => {
    await check(new TypeError('failed to fetch'), { code: 'unreachable', message: 'no answer from host:4040' });
  });

  it('is not taken for what the reader cancelled', async () => {
    const controller = new AbortController();
    controller.abort();
    answering(new DOMException('aborted', 'AbortError'));
    await expect(query('Top', {}, controller.signal)).rejects.toMatchObject({ name: 'AbortError' });
  });
});
