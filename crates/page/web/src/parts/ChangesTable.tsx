// How much each function changed. As it comes from the server, functions that grew by more than they vary stand first.
import { useMemo, useState } from 'react';
import type { CompareFunctionsResponse } from '../api/types';
import { changesOf, SIGNIFICANT, type Change } from '../flame/changes';
import { FunctionCell } from '../flame/FunctionCell';
import { matches } from '../flame/search';
import { More } from '../flame/FunctionsTable';
import { formatChange, formatShare, formatValue } from '../units';
import { AnswerState, type Asked } from './answer';
import { Choice } from './choice';
import { drawn } from './MergedGraph';
import { usePage } from './page';
import { parseSort, printSort, SortHead, sorted, type Sort } from './sort';

const COLUMNS = ['order', 'name', 'before', 'after', 'change', 'significance'] as const;
type Column = (typeof COLUMNS)[number];
const BY_ORDER: Sort<Column> = { column: 'order', falling: false };
const ROWS_SHOWN = 100;

interface ChangesTableProps {
  asked: Asked<CompareFunctionsResponse>;
  unit: string;
}

export function ChangesTable({ asked, unit }: ChangesTableProps) {
  const { state, set } = usePage();
  const sort = useMemo(() => parseSort(state.order, COLUMNS, BY_ORDER), [state.order]);
  const setSort = (chosen: Sort<Column>) => set({ order: printSort(chosen) }, { replace: true });
  const [limit, setLimit] = useState(ROWS_SHOWN);
  const response = drawn(asked.answer);
  const changes = useMemo(() => changesOf(response ?? {}, state.measure, state.by), [response, state.measure, state.by]);
  const rows = useMemo(() => {
    const found = matches(
      changes.map((each) => each.name),
      state.search
    );
    const kept = found ? changes.filter((each) => found.has(each.name)) : changes;
    return sorted<Change, Column>(kept, sort, {
      order: (row) => row.order,
      name: (row) => row.name,
      before: (row) => row.before,
      after: (row) => row.after,
      change: (row) => row.change,
      significance: (row) => row.significance ?? -Infinity,
    });
  }, [changes, state.search, sort]);
  const shown = (value: number) => (state.by === 'share' ? formatShare(value, 1) : formatValue(value, unit));
  return (
    <>
      <div className="bar">
        <button aria-pressed={sort.column === 'order'} onClick={() => set({ order: '' }, { replace: true })}>
          Regressions first
        </button>
        <Choice
          label="What is compared"
          value={state.measure}
          options={[
            ['self', 'Self'],
            ['total', 'Total'],
          ]}
          onChange={(measure) => set({ measure }, { replace: true })}
        />
        <Choice
          label="As"
          value={state.by}
          options={[
            ['share', 'Share'],
            ['value', 'Value'],
          ]}
          onChange={(by) => set({ by }, { replace: true })}
        />
      </div>
      <AnswerState asked={asked} part="changes" />
      <div className="scroll tall">
        <table data-testid="functions-table">
          <thead>
            <tr>
              <SortHead column="name" sort={sort} onSort={setSort}>
                Function
              </SortHead>
              <SortHead column="before" sort={sort} onSort={setSort} number>
                Baseline
              </SortHead>
              <SortHead column="after" sort={sort} onSort={setSort} number>
                Comparison
              </SortHead>
              <SortHead column="change" sort={sort} onSort={setSort} number>
                Change
              </SortHead>
              <SortHead column="significance" sort={sort} onSort={setSort} number wide>
                <abbr title="By how many standard errors the share changed, beyond what slices of time vary by">Significance</abbr>
              </SortHead>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, limit).map((row) => (
              <Row key={row.name} row={row} shown={shown} marked={row.name === state.sandwich} />
            ))}
          </tbody>
        </table>
        <More shown={Math.min(limit, rows.length)} all={rows.length} more={() => setLimit(limit + 5 * ROWS_SHOWN)} />
      </div>
    </>
  );
}

function Row({ row, shown, marked }: { row: Change; shown(value: number): string; marked: boolean }) {
  const { of } = row;
  const tone = row.after > row.before ? 'worse' : row.after < row.before ? 'better' : '';
  return (
    <tr
      className={marked ? 'marked' : undefined}
      data-name={row.name}
      data-self-before={of.selfBefore ?? '0'}
      data-self-after={of.selfAfter ?? '0'}
      data-total-before={of.totalBefore ?? '0'}
      data-total-after={of.totalAfter ?? '0'}
    >
      <FunctionCell name={row.name}>
        <Judgement value={row.significance} />
      </FunctionCell>
      <td className="number" data-col="baseline" data-value={row.before}>
        {shown(row.before)}
      </td>
      <td className="number" data-col="comparison" data-value={row.after}>
        {shown(row.after)}
      </td>
      <td className={`number change ${tone}`} data-col="change" data-value={exactChange(row)}>
        {formatChange(row.before, row.after)}
      </td>
      <td className="number wide" data-col="significance" data-value={row.significance}>
        {significance(row.significance)}
      </td>
    </tr>
  );
}

/** In per cent; in words where one side has nothing. */
function exactChange(row: Change): number | string {
  return row.change === Infinity ? 'new' : row.change === -100 ? 'removed' : row.change;
}

/** What a significant change is, in a word. */
function Judgement({ value = 0 }: { value: number | undefined }) {
  if (value >= SIGNIFICANT) return <span className="badge worse">regression</span>;
  if (value <= -SIGNIFICANT) return <span className="badge better">improvement</span>;
  return null;
}

function significance(value: number | undefined): string {
  if (value === undefined) return '–';
  if (Number.isFinite(value)) return value.toFixed(1);
  return value > 0 ? '∞' : '−∞';
}
