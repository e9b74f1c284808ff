// A table of many rows, sorted by the header, of which only those in sight are drawn. All rows are of one height.
import { useEffect, useRef, useState, type ReactNode } from 'react';
import { ROW_HEIGHT, windowOf } from './window';
import './rows.css';

export interface Column<T> {
  key: string;
  title: string;
  /** In characters. */
  width: number;
  isNumber?: boolean;
  isSortable?: boolean;
  /** What is shown, and told as a whole where it does not fit. */
  text(row: T): string;
  /** What is shown instead of the text. */
  cell?(row: T): ReactNode;
  /** The value as the API has it. */
  exact?(row: T): string;
}

export interface Sort {
  key: string;
  falling: boolean;
}

interface RowsProps<T> {
  label: string;
  testId: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  keyOf(row: T, at: number): string;
  /** What a row is about. */
  nameOf?(row: T): string;
  sort: Sort | undefined;
  onSort(sort: Sort): void;
  /** The row that is marked, by its key. */
  marked?: string;
  /** Pixels of the table at most, then it scrolls. */
  heightMax?: number;
}

export function Rows<T>(props: RowsProps<T>) {
  const { label, testId, columns, rows, keyOf, nameOf, marked, heightMax = 480 } = props;
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const height = useHeight(box, heightMax);
  const { first, end } = windowOf(rows.length, top, height);
  return (
    <div
      ref={box}
      className="rows"
      role="region"
      aria-label={label}
      tabIndex={0}
      style={{ maxHeight: heightMax }}
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
    >
      <table data-testid={testId} aria-label={label} aria-rowcount={rows.length + 1} style={{ minWidth: `calc(${columns.map(widthOf).join(' + ')})` }}>
        <colgroup>
          {columns.map((column) => (
            <col key={column.key} style={{ width: widthOf(column) }} />
          ))}
        </colgroup>
        <thead>
          <tr aria-rowindex={1}>
            {columns.map((column) => (
              <Head key={column.key} column={column} {...props} />
            ))}
          </tr>
        </thead>
        <tbody>
          <Gap rows={first} columns={columns.length} />
          {rows.slice(first, end).map((row, at) => {
            const key = keyOf(row, first + at);
            return (
              <tr
                key={key}
                aria-rowindex={first + at + 2}
                className={key === marked ? 'marked' : undefined}
                data-name={nameOf?.(row)}
              >
                {columns.map((column) => (
                  <Cell key={column.key} column={column} row={row} />
                ))}
              </tr>
            );
          })}
          <Gap rows={rows.length - end} columns={columns.length} />
        </tbody>
      </table>
    </div>
  );
}

/** On a narrow screen no column takes so much that no other is in sight. */
const widthOf = ({ width }: { width: number }) => `min(${width + 2}ch, 44vw)`;

function Head<T>({ column, sort, onSort }: { column: Column<T> } & Pick<RowsProps<T>, 'sort' | 'onSort'>) {
  const { key, title, isNumber = false, isSortable = true } = column;
  const isSorted = sort?.key === key;
  const className = isNumber ? 'number' : undefined;
  if (!isSortable) {
    return (
      <th scope="col" className={className}>
        {title}
      </th>
    );
  }
  // Numbers begin with the largest.
  const next = { key, falling: isSorted ? !sort.falling : isNumber };
  return (
    <th scope="col" className={className} aria-sort={isSorted ? (sort.falling ? 'descending' : 'ascending') : undefined}>
      <button title={title} onClick={() => onSort(next)}>
        {title}
        <span aria-hidden="true">{isSorted ? (sort.falling ? ' ▾' : ' ▴') : ''}</span>
      </button>
    </th>
  );
}

function Cell<T>({ column, row }: { column: Column<T>; row: T }) {
  const text = column.text(row);
  return (
    <td
      className={column.isNumber ? 'number' : undefined}
      title={text || undefined}
      data-col={column.key}
      data-value={column.exact?.(row)}
    >
      {column.cell ? column.cell(row) : text}
    </td>
  );
}

/** Room for rows that are not drawn. */
function Gap({ rows, columns }: { rows: number; columns: number }) {
  if (rows <= 0) return null;
  return (
    <tr aria-hidden="true" className="gap">
      <td colSpan={columns} style={{ height: rows * ROW_HEIGHT }} />
    </tr>
  );
}

function useHeight(box: React.RefObject<HTMLElement>, usual: number): number {
  const [height, setHeight] = useState(usual);
  useEffect(() => {
    if (!box.current) return;
    const observer = new ResizeObserver(([entry]) => entry && setHeight(entry.contentRect.height));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, [box]);
  return height;
}

/** A sort as the URL has it: the column, with `-` before it for falling. */
export function printSort({ key, falling }: Sort): string {
  return `${falling ? '-' : ''}${key}`;
}

export function parseSort(text: string | undefined): Sort | undefined {
  if (!text) return undefined;
  return text.startsWith('-') ? { key: text.slice(1), falling: true } : { key: text, falling: false };
}
