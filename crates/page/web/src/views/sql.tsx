// SQL: a statement, and its rows as a table or as the flame graph that they hold.
import { useCallback, useDeferredValue, useEffect, useMemo, useRef, useState } from 'react';
import { AnswerState, useAnswer } from '../parts/answer';
import { usePage } from '../parts/page';
import type { Answer } from './sql/answer';
import { LIMIT_DEFAULT, ask, limitOf } from './sql/ask';
import { CATALOG_STATEMENT, tablesOf, type Table } from './sql/catalog';
import { Editor } from './sql/editor';
import { ExampleMenu } from './sql/example-menu';
import { Result } from './sql/result';
import { Schema } from './sql/schema';
import './sql/sql.css';

const NO_TABLES: Table[] = [];

export default function Sql() {
  const { state, set, now } = usePage();
  const [draft, setDraft] = useState(state.sql);
  useEffect(() => setDraft(state.sql), [state.sql]);
  const tables = useTables();
  const insert = useRef<(text: string) => void>(() => {});
  const keepInsert = useCallback((given: (text: string) => void) => (insert.current = given), []);
  const limit = limitOf(state.extra.limit);

  // A statement that is asked again is no new state.
  const [turn, setTurn] = useState(0);
  const run = () => {
    if (draft.trim() === '') return;
    setTurn(turn + 1);
    if (draft !== state.sql) set({ sql: draft, extra: { ...state.extra, sort: '', row: '' } });
  };
  const key = state.sql.trim() === '' ? '' : JSON.stringify([state.sql, limit, turn, now]);
  const { shown, asked, key: answered } = useRows(key, state.sql, limit);
  const isReady = asked.answer.state === 'ready' && answered === key;
  const viewState = key === '' ? 'empty' : isReady ? 'ready' : asked.answer.state === 'error' ? 'error' : 'loading';

  return (
    <section className="sql-view" data-testid="view-sql" data-state={viewState}>
      <h1 className="hidden">SQL</h1>
      <div className="sql-top">
        <div className="sql-statement">
          <Editor text={draft} tables={tables} onText={setDraft} onRun={run} onReady={keepInsert} />
          <div className="bar">
            <button type="submit" data-testid="sql-run" onClick={run} title="Ctrl-Enter">
              Run
            </button>
            <ExampleMenu onChoose={setDraft} />
            <Limit limit={limit} />
            <span className="hint">Ctrl-Enter runs, Ctrl-Space completes</span>
          </div>
        </div>
        <Schema tables={tables} onInsert={(text) => insert.current(text)} />
      </div>
      {key === '' ? (
        <p className="hint">Write a statement, or begin with an example. Nothing can be changed: statements only read.</p>
      ) : (
        <>
          <AnswerState asked={asked} />
          {asked.answer.state === 'loading' && shown && <p role="status">{shown.rows.length.toLocaleString('en')} rows so far</p>}
          {shown && <Result answer={shown} statement={state.sql} limit={limit} />}
        </>
      )}
    </section>
  );
}

function useTables(): Table[] {
  const { now } = usePage();
  const { answer } = useAnswer(`tables ${now}`, async (signal) => tablesOf((await ask(CATALOG_STATEMENT, 0, signal)).rows));
  return answer.state === 'ready' ? answer.value : (answer.previous ?? NO_TABLES);
}

/** The rows that have come so far, and the answer they are of. */
function useRows(key: string, statement: string, limit: number) {
  const [partial, setPartial] = useState<{ key: string; answer: Answer }>();
  const asked = useAnswer(key, async (signal) => {
    let shownAt = 0;
    const value = await ask(statement, limit, signal, (answer) => {
      if (performance.now() - shownAt < 200 || answer.rows.length === 0) return;
      shownAt = performance.now();
      setPartial({ key, answer: { ...answer, rows: answer.rows.slice() } });
    });
    return { key, value };
  });
  const { answer } = asked;
  const ready = answer.state === 'ready' ? answer.value : undefined;
  const whole = ready?.key === key ? ready.value : undefined;
  const shown = useDeferredValue(whole ?? (answer.state === 'loading' && partial?.key === key ? partial.answer : undefined));
  return useMemo(() => ({ shown, asked, key: ready?.key }), [shown, asked, ready?.key]);
}

function Limit({ limit }: { limit: number }) {
  const { state, set } = usePage();
  const changed = (text: string) =>
    set({ extra: { ...state.extra, limit: text === String(LIMIT_DEFAULT) ? '' : text } }, { replace: true });
  return (
    <label>
      Rows at most
      <select data-testid="sql-limit" value={limit} onChange={(event) => changed(event.target.value)}>
        {[...new Set([100, 1000, LIMIT_DEFAULT, 100_000, limit, 0])].map((choice) => (
          <option key={choice} value={choice}>
            {choice === 0 ? 'all' : choice.toLocaleString('en')}
          </option>
        ))}
      </select>
    </label>
  );
}
