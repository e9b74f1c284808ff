// Requests to the server that the page came from. What it refuses is an `ApiError` in its own words. Aborting a request
// ends its query on the server.
import { headers } from './settings';
import type { Progress, SqlAnswer } from './types';

export class ApiError extends Error {
  constructor(
    /** As `invalid_argument`, `resource_exhausted`; `unreachable` where no server answered. */
    readonly code: string,
    message: string,
    readonly status: number
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

/** Calls a method of Flamestore's QueryService. */
export function query<Answer>(method: string, request: object, signal?: AbortSignal): Promise<Answer> {
  return call(`flamestore.v1.QueryService/${method}`, request, signal);
}

/** Calls a method of Pyroscope's QuerierService. */
export function querier<Answer>(method: string, request: object, signal?: AbortSignal): Promise<Answer> {
  return call(`querier.v1.QuerierService/${method}`, request, signal);
}

async function call<Answer>(path: string, request: object, signal?: AbortSignal): Promise<Answer> {
  const response = await send(path, 'application/json', JSON.stringify(request), signal);
  return (await response.json()) as Answer;
}

/** The ids by which the server knows what was asked with a signal, so that it can be asked how far it is. */
const ids = new WeakMap<AbortSignal, string>();

function idOf(asked: AbortSignal): string {
  const known = ids.get(asked);
  if (known !== undefined) return known;
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  ids.set(asked, id);
  return id;
}

/** How far the server is with what was asked with the signal `asked`. */
export function progressOf(asked: AbortSignal, signal: AbortSignal): Promise<Progress> {
  return call('flamestore.v1.StatusService/Progress', { queryId: idOf(asked) }, signal);
}

/** The rows of a statement of SQL, `limit` at most; 0 means all. */
export async function sql(statement: string, limit: number, signal?: AbortSignal): Promise<SqlAnswer> {
  const body = JSON.stringify({ query: statement, format: 'json', limit });
  const response = await send('api/v1/sql', 'application/json', body, signal);
  return (await response.json()) as SqlAnswer;
}

/** Posts to the server, beside the page; an answer that is no success becomes an `ApiError`. */
export async function send(path: string, type: string, body: string, signal?: AbortSignal): Promise<Response> {
  const url = new URL(path, document.baseURI);
  const id = signal && { 'flamestore-query-id': idOf(signal) };
  const request: RequestInit = { method: 'POST', headers: { ...headers(), ...id, 'content-type': type }, body };
  if (signal) request.signal = signal;
  const response = await fetch(url, request).catch((error: unknown) => {
    if (signal?.aborted) throw error;
    throw new ApiError('unreachable', `no answer from ${url.host}`, 0);
  });
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response: Response): Promise<ApiError> {
  const text = await response.text();
  try {
    const said = JSON.parse(text) as { code?: string; message?: string };
    return new ApiError(said.code ?? 'unknown', said.message ?? text, response.status);
  } catch {
    return new ApiError('unknown', text.trim() || response.statusText, response.status);
  }
}
