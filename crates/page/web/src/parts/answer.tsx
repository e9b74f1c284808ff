// Questions to the server and the states of their answers: loading, empty, error, ready.
import { useCallback, useEffect, useRef, useState, type ReactNode } from 'react';
import { ApiError, progressOf } from '../api/client';
import type { Progress } from '../api/types';
import { formatCount } from '../units';

export type Answer<T> = { previous?: T | undefined } & (
  | { state: 'loading'; since: number; signal?: AbortSignal }
  | { state: 'cancelled' }
  | { state: 'error'; error: ApiError }
  | { state: 'ready'; value: T }
);

export interface Asked<T> {
  answer: Answer<T>;
  /** Ends the question, and the query on the server. */
  cancel(): void;
  again(): void;
}

/**
 * Asks whenever `key` changes; the question before is aborted. An empty key asks nothing. `previous` is the last answer there
 * was, so that a view need not vanish while the next one is on its way.
 */
export function useAnswer<T>(key: string, ask: (signal: AbortSignal) => Promise<T>): Asked<T> {
  const [kept, setKept] = useState<{ key: string; answer: Answer<T> }>(() => ({ key, answer: loading() }));
  const [turn, setTurn] = useState(0);
  const askRef = useRef(ask);
  askRef.current = ask;
  const running = useRef<AbortController>();

  useEffect(() => {
    if (key === '') return;
    const controller = new AbortController();
    running.current = controller;
    const settle = (settled: Answer<T>) => {
      if (running.current !== controller) return;
      setKept((before) => ({ key, answer: { previous: lastOf(before.answer), ...settled } }));
    };
    settle({ ...loading(), signal: controller.signal });
    askRef.current(controller.signal).then(
      (value) => settle({ state: 'ready', value }),
      (error: unknown) => settle(controller.signal.aborted ? { state: 'cancelled' } : { state: 'error', error: errorOf(error) })
    );
    return () => {
      running.current = undefined;
      controller.abort();
    };
  }, [key, turn]);

  const cancel = useCallback(() => running.current?.abort(), []);
  const again = useCallback(() => setTurn((before) => before + 1), []);
  // Until the effect has run, what is kept answers another question.
  const answer: Answer<T> = kept.key === key ? kept.answer : { ...loading(), previous: lastOf(kept.answer) };
  return { answer, cancel, again };
}

const loading = () => ({ state: 'loading' as const, since: performance.now() });

function lastOf<T>(answer: Answer<T>): T | undefined {
  return answer.state === 'ready' ? answer.value : answer.previous;
}

function errorOf(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  return new ApiError('internal', error instanceof Error ? error.message : String(error), 0);
}

/** How the state of a view is called in `data-state`. */
export function stateOf<T>(answer: Answer<T>, isEmpty: (value: T) => boolean): 'loading' | 'empty' | 'error' | 'ready' {
  if (answer.state === 'ready') return isEmpty(answer.value) ? 'empty' : 'ready';
  return answer.state === 'cancelled' ? 'error' : answer.state;
}

interface AnswerStateProps {
  asked: Asked<unknown>;
  /** Tells an answer beside the view's own apart. */
  part?: string;
}

/** What stands in place of an answer that is not there: progress with a way to cancel, the server's words, or nothing. */
export function AnswerState({ asked, part }: AnswerStateProps) {
  const { answer, cancel, again } = asked;
  const suffix = part === undefined ? '' : `-${part}`;
  if (answer.state === 'loading') {
    return <Loading since={answer.since} signal={answer.signal} cancel={cancel} suffix={suffix} again={answer.previous !== undefined} />;
  }
  if (answer.state === 'error') return <Failure error={answer.error} again={again} suffix={suffix} />;
  if (answer.state === 'cancelled') {
    return (
      <Notice testId={`cancelled${suffix}`}>
        Cancelled. <button onClick={again}>Ask again</button>
      </Notice>
    );
  }
  return null;
}

/** When a question is first asked about, in milliseconds, and how long after an answer the next time: most have ended before. */
const FIRST_LOOK = 700;
const NEXT_LOOK = 500;

/** How far the server is with what was asked with a signal, once that takes long. */
function useProgress(asked: AbortSignal | undefined): Progress {
  const [progress, setProgress] = useState<Progress>({});
  useEffect(() => {
    if (!asked) return;
    const controller = new AbortController();
    const look = async () => {
      const found = await progressOf(asked, controller.signal).catch(() => ({}));
      if (controller.signal.aborted) return;
      setProgress(found);
      timer = setTimeout(look, NEXT_LOOK);
    };
    let timer = setTimeout(look, FIRST_LOOK);
    return () => {
      clearTimeout(timer);
      controller.abort();
      setProgress({});
    };
  }, [asked]);
  return progress;
}

interface LoadingProps {
  since: number;
  signal?: AbortSignal | undefined;
  /** Whether the answer before is still shown below. */
  again: boolean;
  suffix: string;
  cancel(): void;
}

function Loading({ since, signal, again, suffix, cancel }: LoadingProps) {
  const [now, setNow] = useState(() => performance.now());
  const progress = useProgress(signal);
  const [done, segments] = [Number(progress.segmentsDone ?? 0), Number(progress.segments ?? 0)];
  // What is in memory is read without decoding rows.
  const rows = Number(progress.rows ?? 0);
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 100);
    return () => clearInterval(timer);
  }, []);
  const elapsed = Math.max(0, now - since);
  // Quick answers come without a flash of progress.
  if (elapsed < 250) return again ? null : <div className="loading" />;
  return (
    <div className="loading" role="status">
      <progress aria-label="Loading" {...(done < segments && { value: done, max: segments })} />
      <span className="elapsed">{(elapsed / 1000).toFixed(1)} s</span>
      {segments > 0 && (
        <span data-testid={`progress${suffix}`} data-value={`${done} ${segments}`}>
          {formatCount(done)} of {formatCount(segments)} segments{rows > 0 && `, ${formatCount(rows)} rows`}
        </span>
      )}
      <button data-testid={`cancel${suffix}`} onClick={cancel}>
        Cancel
      </button>
    </div>
  );
}

function Failure({ error, again, suffix }: { error: ApiError; again(): void; suffix: string }) {
  return (
    <div className="notice failure" role="alert" data-testid={`error${suffix}`}>
      <strong>{error.code.replaceAll('_', ' ')}</strong>
      <span>{error.message}</span>
      <button onClick={again}>Ask again</button>
    </div>
  );
}

/** A remark in place of an answer, or above it. */
export function Notice({ children, testId }: { children: ReactNode; testId?: string }) {
  return (
    <div className="notice" role="status" data-testid={testId}>
      {children}
    </div>
  );
}
