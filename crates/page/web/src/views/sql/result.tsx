// The rows of a statement: as a table that sorts, as the flame graph that they hold, and as a file.
import { useMemo, useRef, useState } from 'react';
import { ApiError } from '../../api/client';
import { FlameView } from '../../flame/FlameView';
import { Choice } from '../../parts/choice';
import { download } from '../../parts/download';
import { usePage } from '../../parts/page';
import { isNumeric, sorted, textOf, type Answer, type Row } from './answer';
import { fileOf, type Format } from './ask';
import { graphsOf, typeIn, type Found } from './graph';
import { Rows, parseSort, printSort, type Column } from './rows';

interface ResultProps {
  answer: Answer;
  /** Whether there is no more on its way. */
  isWhole: boolean;
  statement: string;
  limit: number;
}

export function Result({ answer, isWhole, statement, limit }: ResultProps) {
  const { state, set } = usePage();
  const graphs = useMemo(() => (isWhole ? graphsOf(answer) : []), [answer, isWhole]);
  const isGraph = graphs.length > 0 && state.extra.rows !== 'table';
  return (
    <>
      <div className="bar">
        <strong data-testid="sql-count" data-value={answer.rows.length}>
          {answer.rows.length.toLocaleString('en')} {answer.rows.length === 1 ? 'row' : 'rows'}
        </strong>
        {graphs.length > 0 && (
          <Choice
            label="Show rows as"
            value={isGraph ? 'graph' : 'table'}
            options={[
              ['graph', 'Flame graph'],
              ['table', 'Rows'],
            ]}
            onChange={(rows) => set({ extra: { ...state.extra, rows: rows === 'graph' ? '' : rows } }, { replace: true })}
          />
        )}
        <span className="spring" />
        <Downloads statement={statement} limit={limit} />
      </div>
      {answer.hasMore && (
        <p className="notice" role="status" data-testid="sql-more">
          There are more rows than {limit.toLocaleString('en')}: the limit leaves them out, of files too.
        </p>
      )}
      {answer.damaged.map(({ segment, error }) => (
        <p key={segment} className="notice" role="status">
          Segment {segment} could not be read and is missing: {error}
        </p>
      ))}
      {isGraph ? <Graphs graphs={graphs} /> : <ResultTable answer={answer} />}
    </>
  );
}

function Graphs({ graphs }: { graphs: Found[] }) {
  const { state, set } = usePage();
  const chosen = Math.min(Math.max(Number(state.extra.row) || 0, 0), graphs.length - 1);
  const graph = useMemo(() => graphs[chosen]?.graph(), [graphs, chosen]);
  if (!graph) return null;
  const choose = (row: string) => set({ extra: { ...state.extra, row }, focus: [], sandwich: '' });
  return (
    <div data-testid="sql-graph">
      {graphs.length > 1 && (
        <label className="bar">
          Graph of
          <select data-testid="sql-graph-of" value={chosen} onChange={(event) => choose(event.target.value)}>
            {graphs.map(({ label }, at) => (
              <option key={at} value={at}>
                {label}
              </option>
            ))}
          </select>
        </label>
      )}
      <FlameView graph={graph} sides={graph.sides} type={typeIn(state.sql)} name="sql" />
    </div>
  );
}

/** Rows looked at to find how wide a column is. */
const MEASURED_ROWS = 200;
const WIDTH_MAX = 60;
/** Characters of a cell that are drawn. */
const SHOWN_MAX = 400;
/** Rows of a table: browsers bound how long it may be. */
const ROWS_MAX = 500_000;

function ResultTable({ answer }: { answer: Answer }) {
  const { state, set } = usePage();
  const { columns, rows } = answer;
  const shown = useMemo(() => columns.map((_, at) => columnOf(answer, at)), [answer, columns]);
  const sort = parseSort(state.extra.sort);
  const ordered = useMemo(() => {
    const at = sort ? Number(sort.key) : -1;
    const type = columns[at]?.type;
    const all = type === undefined ? rows : sorted(rows, at, type, sort?.falling ?? false).map((row) => rows[row] ?? []);
    return all.slice(0, ROWS_MAX);
  }, [columns, rows, sort?.key, sort?.falling]);
  return (
    <>
      {rows.length > ROWS_MAX && (
        <p className="notice" role="status">
          The first {ROWS_MAX.toLocaleString('en')} rows are shown; files have all.
        </p>
      )}
      <Rows
        label="Rows of the statement"
        testId="sql-table"
        columns={shown}
        rows={ordered}
        keyOf={(_, at) => String(at)}
        sort={sort}
        onSort={(next) => set({ extra: { ...state.extra, sort: printSort(next) } }, { replace: true })}
        heightMax={560}
      />
    </>
  );
}

function columnOf({ columns, rows }: Answer, at: number): Column<Row> {
  const { name = '', type = '' } = columns[at] ?? {};
  const text = (row: Row) => shorten(textOf(row[at] ?? null));
  const longest = rows.slice(0, MEASURED_ROWS).reduce((most, row) => Math.max(most, text(row).length), name.length + 2);
  return {
    key: String(at),
    title: name,
    width: Math.min(longest, WIDTH_MAX),
    isNumber: isNumeric(type),
    text,
    exact: (row) => shorten(textOf(row[at] ?? null)),
    cell: (row) => (row[at] === null ? <span className="null">null</span> : text(row)),
  };
}

function shorten(text: string): string {
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}

const FORMATS: ReadonlyArray<readonly [Format, string]> = [
  ['csv', 'CSV'],
  ['json', 'JSON'],
  ['arrow', 'Arrow'],
];

function Downloads({ statement, limit }: { statement: string; limit: number }) {
  const running = useRef<AbortController>();
  const [busy, setBusy] = useState<Format>();
  const [error, setError] = useState<ApiError>();
  const load = async (format: Format) => {
    const controller = new AbortController();
    running.current = controller;
    setBusy(format);
    setError(undefined);
    try {
      download(await fileOf(statement, format, limit, controller.signal), `rows.${format}`);
    } catch (failure) {
      if (!controller.signal.aborted) setError(failure instanceof ApiError ? failure : new ApiError('internal', String(failure), 0));
    } finally {
      setBusy(undefined);
    }
  };
  return (
    <>
      {FORMATS.map(([format, name]) => (
        <button key={format} data-testid={`sql-${format}`} disabled={busy !== undefined} onClick={() => load(format)}>
          {name}
        </button>
      ))}
      {busy && (
        <button data-testid="cancel" onClick={() => running.current?.abort()}>
          Cancel
        </button>
      )}
      {error && (
        <p className="notice failure" role="alert" data-testid="error">
          {error.message}
        </p>
      )}
    </>
  );
}
