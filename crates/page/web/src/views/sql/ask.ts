// Statements and their answers, read as they stream and saved as files.
import { ApiError, send } from '../../api/client';
import { AnswerReader, type Answer } from './answer';

export type Format = 'csv' | 'json' | 'arrow';

/** Rows at most where the reader does not say. */
export const LIMIT_DEFAULT = 10_000;

/** The limit that the URL says; 0 stands for all. */
export function limitOf(text: string | undefined): number {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : LIMIT_DEFAULT;
}

function post(statement: string, format: Format, limit: number, signal: AbortSignal): Promise<Response> {
  return send('api/v1/sql', 'application/json', JSON.stringify({ query: statement, format, limit }), signal);
}

const brokenOff = (response: Response) =>
  new ApiError('broken_off', 'the answer broke off before its end: a limit or the deadline of the server was reached', response.status);

/** The rows of a statement; `seen` is called with what has come so far. */
export async function ask(
  statement: string,
  limit: number,
  signal: AbortSignal,
  seen: (answer: Answer) => void = () => {}
): Promise<Answer> {
  const response = await post(statement, 'json', limit, signal);
  const reader = new AnswerReader();
  try {
    await forEachText(response, (text) => {
      reader.push(text);
      seen(reader.answer);
    });
    return reader.finish();
  } catch (error) {
    throw signal.aborted ? error : brokenOff(response);
  }
}

async function forEachText(response: Response, take: (text: string) => void): Promise<void> {
  const parts = response.body?.getReader();
  const decoder = new TextDecoder();
  for (let part = await parts?.read(); part && !part.done; part = await parts?.read()) {
    take(decoder.decode(part.value, { stream: true }));
  }
}

/** The answer of a statement as a file of a format. */
export async function fileOf(statement: string, format: Format, limit: number, signal: AbortSignal): Promise<Blob> {
  const response = await post(statement, format, limit, signal);
  return response.blob().catch((error: unknown) => {
    throw signal.aborted ? error : brokenOff(response);
  });
}
