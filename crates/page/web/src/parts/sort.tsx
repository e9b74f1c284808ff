// Tables sorted by one of their columns.
import type { ReactNode } from 'react';

export interface Sort<Column extends string> {
  column: Column;
  falling: boolean;
}

type KeyOf<Row> = (row: Row) => number | string;

/** The rows by a column; those that are equal in it stay in the order they have. */
export function sorted<Row, Column extends string>(
  rows: readonly Row[],
  sort: Sort<Column>,
  keys: Record<Column, KeyOf<Row>>
): Row[] {
  const key = keys[sort.column];
  const sign = sort.falling ? -1 : 1;
  return [...rows].sort((a, b) => sign * compare(key(a), key(b)));
}

function compare(a: number | string, b: number | string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** The order that a link says, `-` first for falling; `usual` where it says none of the columns. */
export function parseSort<Column extends string>(text: string, columns: readonly Column[], usual: Sort<Column>): Sort<Column> {
  const falling = text.startsWith('-');
  const column = columns.find((each) => each === (falling ? text.slice(1) : text));
  return column ? { column, falling } : usual;
}

export const printSort = (sort: Sort<string>): string => `${sort.falling ? '-' : ''}${sort.column}`;

interface SortHeadProps<Column extends string> {
  column: Column;
  sort: Sort<Column>;
  onSort(sort: Sort<Column>): void;
  number?: boolean;
  /** Shown only where there is room. */
  wide?: boolean;
  children: ReactNode;
}

export function SortHead<Column extends string>({ column, sort, onSort, number, wide, children }: SortHeadProps<Column>) {
  const current = sort.column === column;
  // Numbers are wanted largest first, names from A on.
  const falling = current ? !sort.falling : number === true;
  return (
    <th
      scope="col"
      className={`${number ? 'number' : ''} ${wide ? 'wide' : ''}`.trim() || undefined}
      aria-sort={current ? (sort.falling ? 'descending' : 'ascending') : 'none'}
    >
      <button data-sort={column} onClick={() => onSort({ column, falling })}>
        {children}
        <span aria-hidden="true" className="arrow">
          {current ? (sort.falling ? ' ▾' : ' ▴') : ''}
        </span>
      </button>
    </th>
  );
}
