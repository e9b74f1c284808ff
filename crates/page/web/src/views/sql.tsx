// SQL: a statement, and its rows as a table or as the flame graph that they hold.
import { useCallback, useEffect, useRef, useState } from 'react';
import { AnswerState, stateOf, useAnswer, type Asked } from '../parts/answer';
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
/** Rows that have come are shown so often, in milliseconds. */
const SHOWN_EVERY = 250;

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
  const { shown, partial, asked } = useRows(key, state.sql, limit);
  const viewState = key === '' ? 'empty' : stateOf(asked.answer, () => false);

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
          <AnswerState asked={asked} key={key} />
          {asked.answer.state === 'loading' && shown && <p role="status">{shown.rows.length.toLocaleString('en')} rows so far</p>}
          {shown && <Result answer={shown} isWhole={shown !== partial} statement={state.sql} limit={limit} />}
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

interface Rows {
  asked: Asked<Answer>;
  shown: Answer | undefined;
  /** What is shown, where more is on its way. */
  partial: Answer | undefined;
}

/** The answer to a statement, and of one that is on its way the rows that have come. */
function useRows(key: string, statement: string, limit: number): Rows {
  const [kept, setKept] = useState<{ key: string; answer: Answer }>();
  const asked = useAnswer(key, (signal) => {
    let shownAt = performance.now();
    return ask(statement, limit, signal, (answer) => {
      if (performance.now() - shownAt < SHOWN_EVERY || answer.rows.length === 0) return;
      shownAt = performance.now();
      setKept({ key, answer: { ...answer, rows: answer.rows.slice() } });
    });
  });
  const { answer } = asked;
  if (answer.state === 'ready') return { asked, shown: answer.value, partial: undefined };
  const partial = answer.state === 'loading' && kept?.key === key ? kept.answer : undefined;
  return { asked, shown: partial, partial };
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
