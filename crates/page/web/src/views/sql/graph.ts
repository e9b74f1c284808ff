// Flame graphs in rows of SQL. A graph is found in
//
//   flamegraph(stack, value)          a text that is the JSON of a flame graph, one a row
//   folded(stack, value)              a text of lines `root;caller;leaf value`, one a row
//   merge(…), diff(…)                 a row per frame in preorder: depth, name, self and total (of each side)
//   SELECT stack, sum(value) …        a list of names and a number, a row per stack
//
// and becomes the flame graph of the API: levels of nodes (offset, total, self, index of the name).

import type { FlameGraphDiff } from '../../api/types';
import { textOf, type Answer, type Row, type Value } from './answer';

export interface Graph extends FlameGraphDiff {
  names: string[];
  levels: { values: string[] }[];
  /** 2 for a diff: its nodes are (offset, total, self) of either side, then the name. */
  sides: 1 | 2;
}

/** A graph that can be shown, and what it is called among others of the answer. */
export interface Found {
  label: string;
  graph: () => Graph;
}

interface Node {
  depth: number;
  name: string;
  totals: bigint[];
  selves: bigint[];
}

/** Nodes in preorder as levels. Children of a node stand side by side from its left end on. */
export function levelsOf(nodes: readonly Node[], sides: 1 | 2): Graph {
  const names: string[] = [];
  const numbers = new Map<string, number>();
  const levels: { values: string[] }[] = [];
  const zeros = () => Array<bigint>(sides).fill(0n);
  const ends: bigint[][] = [];
  const free: bigint[][] = [zeros()];
  for (const node of nodes) {
    const { depth } = node;
    const starts = free[depth] ?? zeros();
    const end = (ends[depth] ??= zeros());
    const values = (levels[depth] ??= { values: [] }).values;
    for (let side = 0; side < sides; side++) {
      const [start, total] = [starts[side] ?? 0n, node.totals[side] ?? 0n];
      values.push(String(start - (end[side] ?? 0n)), String(total), String(node.selves[side] ?? 0n));
      end[side] = start + total;
    }
    values.push(String(numberOf(node.name, names, numbers)));
    free[depth] = [...end];
    free[depth + 1] = [...starts];
  }
  return { names, levels, sides, ...totalsOf(nodes, sides) };
}

/** What a graph says of itself as a whole. */
function totalsOf(nodes: readonly Node[], sides: 1 | 2) {
  const [left = 0n, right = 0n] = nodes[0]?.totals ?? [];
  const selves = nodes.flatMap((node) => node.selves);
  const maxSelf = String(selves.reduce((most, self) => (self > most ? self : most), 0n));
  if (sides === 1) return { total: String(left), maxSelf };
  return { total: String(left + right), maxSelf, leftTicks: String(left), rightTicks: String(right) };
}

function numberOf(name: string, names: string[], numbers: Map<string, number>): number {
  const known = numbers.get(name);
  if (known !== undefined) return known;
  numbers.set(name, names.length);
  return names.push(name) - 1;
}

interface Branch {
  self: bigint;
  total: bigint;
  children: Map<string, Branch>;
}

/** Stacks with values, root first, as one tree under a root `total`. */
export function graphOfStacks(stacks: Iterable<[readonly string[], bigint]>): Graph {
  const root: Branch = { self: 0n, total: 0n, children: new Map() };
  for (const [stack, value] of stacks) {
    let at = root;
    at.total += value;
    for (const name of stack) {
      const child: Branch = at.children.get(name) ?? { self: 0n, total: 0n, children: new Map() };
      at.children.set(name, child);
      child.total += value;
      at = child;
    }
    at.self += value;
  }
  return levelsOf([...preorder(root)], 1);
}

function* preorder(root: Branch): Generator<Node> {
  const waiting: [string, Branch, number][] = [['total', root, 0]];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [name, branch, depth] = next;
    yield { depth, name, totals: [branch.total], selves: [branch.self] };
    const children = [...branch.children].sort(([a], [b]) => (a < b ? 1 : -1));
    for (const [child, below] of children) waiting.push([child, below, depth + 1]);
  }
}

/** The graph that a text is, if it is the JSON of one. */
export function graphOfJson(text: string): Graph | null {
  if (!text.startsWith('{') || !text.includes('"levels"') || !text.includes('"names"')) return null;
  try {
    const found = JSON.parse(text) as Record<'names' | 'levels' | 'total' | 'max_self', unknown>;
    if (!Array.isArray(found.names) || !Array.isArray(found.levels)) return null;
    const levels = found.levels.map((level: { values?: unknown[] }) => ({ values: (level.values ?? []).map(String) }));
    if (levels.some(({ values }) => values.length % 4 !== 0)) return null;
    const whole = { total: String(found.total ?? 0), maxSelf: String(found.max_self ?? 0) };
    return { names: found.names.map(String), levels, sides: 1, ...whole };
  } catch {
    return null;
  }
}

const FOLDED_LINE = /^(.+) (-?\d+)$/;

/** Whether a text is folded: every line a stack and a number, and a stack of more than one frame among them. */
export function isFolded(text: string): boolean {
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.length > 0 && lines.every((line) => FOLDED_LINE.test(line)) && text.includes(';');
}

function graphOfFolded(text: string): Graph {
  const stacks: [string[], bigint][] = [];
  for (const line of text.split('\n')) {
    const [, stack, value] = FOLDED_LINE.exec(line) ?? [];
    if (stack !== undefined && value !== undefined) stacks.push([stack.split(';'), BigInt(value)]);
  }
  return graphOfStacks(stacks);
}

/** All graphs of an answer; none where it has none. */
export function graphsOf(answer: Answer): Found[] {
  if (answer.rows.length === 0) return [];
  return graphOfFrames(answer) ?? graphsInTexts(answer) ?? graphOfStackRows(answer) ?? [];
}

/** Rows of `merge` or `diff`: frames in preorder. */
function graphOfFrames({ columns, rows }: Answer): Found[] | null {
  const at = (name: string) => columns.findIndex((column) => column.name === name);
  const [depth, name] = [at('depth'), at('name')];
  const single = [[at('total')], [at('self')]];
  const double = [
    [at('total_before'), at('total_after')],
    [at('self_before'), at('self_after')],
  ];
  const chosen = [single, double].find((pair) => pair.flat().every((column) => column >= 0));
  const [totals = [], selves = []] = chosen ?? [];
  if (depth < 0 || name < 0 || totals.length === 0) return null;
  const depths = rows.map((row) => Number(row[depth]));
  const fits = (of: number, row: number) => Number.isInteger(of) && of >= 0 && of <= (depths[row - 1] ?? -1) + 1;
  if (!depths.every(fits) || depths.filter((of) => of === 0).length !== 1) return null;
  const whole = (row: Row) => (column: number) => wholeOf(row[column] ?? null);
  const node = (row: Row, of: number): Node => ({
    depth: depths[of] ?? 0,
    name: textOf(row[name] ?? null) || '(unknown)',
    totals: totals.map(whole(row)),
    selves: selves.map(whole(row)),
  });
  return [{ label: 'all rows', graph: () => levelsOf(rows.map(node), totals.length === 2 ? 2 : 1) }];
}

/** Texts that are graphs, JSON or folded, each a graph of its own. */
function graphsInTexts({ columns, rows }: Answer): Found[] | null {
  for (const at of columns.keys()) {
    const first = rows.find((row) => row[at] !== null)?.[at];
    if (typeof first !== 'string') continue;
    const isJson = graphOfJson(first) !== null;
    if (!isJson && !isFolded(first)) continue;
    const texts = rows.flatMap((row, number): [Row, number, string][] => {
      const text = row[at];
      return typeof text === 'string' ? [[row, number, text]] : [];
    });
    return texts.map(([row, number, text]) => ({
      label: labelOf(row, number, at),
      graph: () => (isJson && graphOfJson(text)) || graphOfFolded(text),
    }));
  }
  return null;
}

/** What tells a row from others: its other values. */
function labelOf(row: Row, number: number, graphAt: number): string {
  const others = row.filter((value, at) => at !== graphAt && value !== null && String(value).length < 100);
  return others.map(textOf).join(', ') || `row ${number + 1}`;
}

const LIST_OF_TEXT = /^(Large)?List(View)?\(.*(Utf8|Utf8View)\b/;

/** Types that sums of values have; what is narrower is a depth or a line. */
const VALUE = /^(Int64|UInt64|Float64|Decimal)/;

/** A list of names and a value a row. */
function graphOfStackRows({ columns, rows }: Answer): Found[] | null {
  const stack = columns.findIndex((column) => LIST_OF_TEXT.test(column.type));
  const numbers = [...columns.keys()].filter((at) => VALUE.test(columns[at]?.type ?? ''));
  if (stack < 0 || numbers.length !== 1) return null;
  const value = numbers[0] ?? 0;
  const stacks = rows.map((row): [string[], bigint] => [namesOf(row[stack] ?? null), wholeOf(row[value] ?? null)]);
  return [{ label: 'all rows', graph: () => graphOfStacks(stacks) }];
}

function namesOf(value: Value): string[] {
  return Array.isArray(value) ? value.map(textOf) : [];
}

function wholeOf(value: Value): bigint {
  const text = String(value);
  return /^-?\d+$/.test(text) ? BigInt(text) : BigInt(Math.round(Number(text)) || 0);
}

/** The profile type that a statement names, which says the unit of its values; empty where it names none. */
export function typeIn(statement: string): string {
  return /[\w.-]+:[\w.-]+:[\w.-]*:[\w.-]*:[\w.-]*/.exec(statement)?.[0] ?? '';
}
