// The functions of a merge: what each spends itself and in total. Sorted by a column, cut down by the search.
import { useMemo, useState } from 'react';
import { usePage } from '../parts/page';
import { parseSort, printSort, SortHead, sorted, type Sort } from '../parts/sort';
import { formatShare, formatValue } from '../units';
import { FunctionCell } from './FunctionCell';
import type { FunctionRow } from './frame';

interface FunctionsTableProps {
  functions: readonly FunctionRow[];
  total: number[];
  unit: string;
  found: Set<string> | undefined;
}

const COLUMNS = ['name', 'self', 'total'] as const;
type Column = (typeof COLUMNS)[number];
const USUAL: Sort<Column> = { column: 'self', falling: true };
/** Rows that are shown at once; more on demand. */
const ROWS_SHOWN = 100;

export function FunctionsTable({ functions, total, unit, found }: FunctionsTableProps) {
  const { state, set } = usePage();
  const sort = useMemo(() => parseSort(state.order, COLUMNS, USUAL), [state.order]);
  const setSort = (chosen: Sort<Column>) => set({ order: printSort(chosen) }, { replace: true });
  const [limit, setLimit] = useState(ROWS_SHOWN);
  const rows = useMemo(() => {
    const kept = found ? functions.filter((each) => found.has(each.name)) : functions;
    return sorted(kept, sort, { name: (row) => row.name, self: (row) => sumOf(row.self), total: (row) => sumOf(row.total) });
  }, [functions, found, sort]);
  const whole = sumOf(total);
  return (
    <div className="scroll tall">
      <table data-testid="functions-table">
        <thead>
          <tr>
            <SortHead column="name" sort={sort} onSort={setSort}>
              Function
            </SortHead>
            <SortHead column="self" sort={sort} onSort={setSort} number>
              Self
            </SortHead>
            <SortHead column="total" sort={sort} onSort={setSort} number>
              Total
            </SortHead>
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, limit).map((row) => (
            <tr key={row.name} data-name={row.name} className={row.name === state.sandwich ? 'marked' : undefined}>
              <FunctionCell name={row.name} />
              <Spent column="self" value={sumOf(row.self)} whole={whole} unit={unit} />
              <Spent column="total" value={sumOf(row.total)} whole={whole} unit={unit} />
            </tr>
          ))}
        </tbody>
      </table>
      <More shown={Math.min(limit, rows.length)} all={rows.length} more={() => setLimit(limit + 5 * ROWS_SHOWN)} />
    </div>
  );
}

const sumOf = (values: readonly number[]) => values.reduce((sum, each) => sum + each, 0);

interface SpentProps {
  column: 'self' | 'total';
  value: number;
  whole: number;
  unit: string;
}

function Spent({ column, value, whole, unit }: SpentProps) {
  const share = whole === 0 ? 0 : (value / whole) * 100;
  return (
    <td className="number spent" data-col={column} data-value={value} style={{ backgroundSize: `${share.toFixed(2)}% 100%` }}>
      {formatValue(value, unit)}{' '}
      <span className="share">{formatShare(value, whole)}</span>
    </td>
  );
}

/** How many rows there are beyond those shown, and a way to see more. */
export function More({ shown, all, more }: { shown: number; all: number; more(): void }) {
  return (
    <div className="more">
      {shown === all ? `${all} function${all === 1 ? '' : 's'}` : `${shown} of ${all} functions`}
      {shown < all && <button onClick={more}>Show more</button>}
    </div>
  );
}
