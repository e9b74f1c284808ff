// Tables, columns and functions, as the editor completes them and the list beside it shows them.

import type { Row } from './answer';

/** Asks for every table and its columns; the schemas of catalogs are left out, but for their names. */
export const CATALOG_STATEMENT = `SELECT table_schema, table_name, column_name, data_type
FROM information_schema.columns
WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
ORDER BY table_schema = 'segment', table_schema, table_name, ordinal_position`;

export interface TableColumn {
  name: string;
  type: string;
}

export interface Table {
  /** As a statement names it: with its schema, unless it is the one that needs no naming. */
  name: string;
  columns: TableColumn[];
}

/** The schema whose tables need no schema before them. */
const PLAIN_SCHEMA = 'public';

/** What is asked for most comes first; all else in the order of the rows. */
const FIRST = ['samples', 'profiles', 'series', 'stacks'];

/** Tables of the rows of `CATALOG_STATEMENT`. */
export function tablesOf(rows: readonly Row[]): Table[] {
  const tables = new Map<string, Table>();
  for (const [schema, table, column, type] of rows.map((row) => row.map(String))) {
    if (schema === undefined || table === undefined || column === undefined) continue;
    const name = schema === PLAIN_SCHEMA ? table : `${schema}.${table}`;
    const known = tables.get(name) ?? { name, columns: [] };
    tables.set(name, known);
    known.columns.push({ name: column, type: plainType(type ?? '') });
  }
  const rank = ({ name }: Table) => (FIRST.indexOf(name) + 1 || FIRST.length + 1);
  return [...tables.values()].sort((a, b) => rank(a) - rank(b));
}

/** A type of Arrow in the words of SQL. */
export function plainType(type: string): string {
  const inner = /^Dictionary\([^,]+, (.*)\)$/.exec(type)?.[1] ?? type;
  if (/^(Large)?Utf8(View)?$/.test(inner)) return 'text';
  if (/^Timestamp/.test(inner)) return 'timestamp';
  if (/^Map/.test(inner)) return 'map of text';
  if (/List/.test(inner)) return 'list of text';
  if (/^U?Int64$/.test(inner)) return 'bigint';
  if (/^U?Int\d+$/.test(inner)) return 'integer';
  if (/^Float/.test(inner)) return 'double';
  if (/Binary/.test(inner)) return 'bytes';
  return inner.toLowerCase();
}

/** The tables as the editor completes them: columns by table. */
export function completions(tables: readonly Table[]): Record<string, string[]> {
  return Object.fromEntries(tables.map(({ name, columns }) => [name, columns.map((column) => column.name)]));
}

/** The columns that a statement may speak of: those of the tables it names, of all tables where it names none; each once. */
export function columnsFor(statement: string, tables: readonly Table[]): TableColumn[] {
  const words = new Set(statement.toLowerCase().match(/[a-z_][\w.]*/g) ?? []);
  const named = tables.filter(({ name }) => words.has(name));
  const among = named.length > 0 ? named : tables.filter(({ name }) => !name.includes('.'));
  return [...new Map(among.flatMap(({ columns }) => columns).map((column) => [column.name, column])).values()];
}

export interface SqlFunction {
  /** What is called. */
  name: string;
  /** How it is called. */
  usage: string;
  about: string;
}

/** What the store adds to the functions of the dialect. */
export const FUNCTIONS: readonly SqlFunction[] = [
  { name: 'top_functions', usage: "top_functions('SELECTOR', from, to)", about: 'functions with what they spend: a table' },
  { name: 'merge', usage: "merge('SELECTOR', from, to)", about: 'a row per frame of the call tree: a table' },
  { name: 'diff', usage: "diff('SELECTOR', a_from, a_to, b_from, b_to)", about: 'the same of two ranges: a table' },
  { name: 'flamegraph', usage: 'flamegraph(stack, value)', about: 'a flame graph, shown as one here' },
  { name: 'folded', usage: 'folded(stack, value)', about: 'folded text, shown as a flame graph here' },
  { name: 'pprof', usage: 'pprof(stack, value, profile_type)', about: 'a profile of pprof, compressed' },
  { name: 'has_function', usage: "has_function(stack, 'REGEX')", about: 'whether the name of a frame holds a match' },
  { name: 'leaf', usage: 'leaf(stack)', about: 'the innermost frame' },
  { name: 'root', usage: 'root(stack)', about: 'the outermost frame' },
  { name: 'label', usage: "label(labels, profile_type, 'NAME')", about: 'the value of a label, empty without it' },
  { name: 'label_names', usage: 'label_names(labels, profile_type)', about: 'the names of all labels' },
  { name: 'selects', usage: "selects(labels, profile_type, 'SELECTOR')", about: 'whether a selector fits' },
];
