// A flame graph as rows in preorder, one column each, for one side or for two laid over each other.
//
// The server sends levels of nodes, each by its distance from the node before it; drawing, tables and exports all want rows.
// Row 0 is the root. A row's children follow it, one level deeper, until a row that is not deeper.
import type { FlameGraph } from '../api/types';

export type Sides = 1 | 2;

export interface Frame {
  levels: number[];
  labels: string[];
  /** Totals and own values, a column for each side. */
  totals: number[][];
  selves: number[][];
}

/** A function of a frame with what it spends on each side. */
export interface FunctionRow {
  name: string;
  self: number[];
  total: number[];
}

/** What the server calls the rest of a call site whose smaller callees were left out. */
export const FOLDED = 'other';

export const sidesOf = (frame: Frame): Sides => (frame.totals.length === 2 ? 2 : 1);

export function emptyFrame(sides: Sides): Frame {
  const columns = () => Array.from({ length: sides }, (): number[] => []);
  return { levels: [], labels: [], totals: columns(), selves: columns() };
}

/** Where the reading of a level is: the place of its next node, and the end of the one before. */
interface Cursor {
  values: readonly string[];
  at: number;
  end: number;
}

/** The rows of a graph as the server answers it. */
export function frameOf(graph: FlameGraph, sides: Sides): Frame {
  const names = graph.names ?? [];
  const cursors = (graph.levels ?? []).map((level): Cursor => ({ values: level.values ?? [], at: 0, end: 0 }));
  const width = sides * 3 + 1;
  const frame = emptyFrame(sides);
  const ends: number[] = [];
  // A loop and not a recursion: stacks may be deeper than that of the browser.
  for (let depth = 0; depth >= 0; ) {
    const cursor = cursors[depth];
    const end = cursor && cursor.at + width <= cursor.values.length ? endOfNext(cursor, sides) : Infinity;
    // A node of no width belongs to the parent at whose place it stands.
    if (!cursor || end === Infinity || (depth > 0 && end > ends[depth - 1]!)) {
      depth--;
      continue;
    }
    frame.levels.push(depth);
    frame.labels.push(names[Number(cursor.values[cursor.at + width - 1])] ?? '');
    for (let side = 0; side < sides; side++) {
      frame.totals[side]!.push(Number(cursor.values[cursor.at + side * 3 + 1]));
      frame.selves[side]!.push(Number(cursor.values[cursor.at + side * 3 + 2]));
    }
    cursor.at += width;
    cursor.end = ends[depth] = end;
    depth++;
  }
  if (cursors.some(({ at, values }) => at + width <= values.length)) throw new Error('a node lies outside of its parent');
  return frame;
}

/** Where the next node of a level ends; it is as wide as on all sides together. */
function endOfNext({ values, at, end }: Cursor, sides: Sides): number {
  let reached = end;
  for (let side = 0; side < sides; side++) reached += Number(values[at + side * 3]) + Number(values[at + side * 3 + 1]);
  return reached;
}

export function push(frame: Frame, level: number, label: string, totals: readonly number[], selves: readonly number[]): void {
  frame.levels.push(level);
  frame.labels.push(label);
  frame.totals.forEach((column, side) => column.push(totals[side]!));
  frame.selves.forEach((column, side) => column.push(selves[side]!));
}

/** The first row behind `row` and all that is below it. */
export function endOf(frame: Frame, row: number): number {
  const level = frame.levels[row]!;
  let end = row + 1;
  while (end < frame.levels.length && frame.levels[end]! > level) end++;
  return end;
}

/** The functions from the root's first callee down to a row; empty for the root itself. */
export function pathOf(frame: Frame, row: number): string[] {
  const path: string[] = [];
  let level = frame.levels[row]!;
  for (let at = row; at > 0 && level > 0; at--) {
    if (frame.levels[at] === level) {
      path.unshift(frame.labels[at]!);
      level--;
    }
  }
  return path;
}

/** The row that a path leads to; undefined where there is none. */
export function rowAt(frame: Frame, path: readonly string[]): number | undefined {
  if (frame.levels.length === 0) return undefined;
  let row = 0;
  for (const name of path) {
    const end = endOf(frame, row);
    let child = row + 1;
    while (child < end && frame.labels[child] !== name) child = endOf(frame, child);
    if (child >= end) return undefined;
    row = child;
  }
  return row;
}

/**
 * The rows that stand for what was left out, largest first. A graph of less than `nodesMax` nodes is whole: what is called
 * `other` there is a function of that name.
 */
export function foldedRows(frame: Frame, nodesMax: number): number[] {
  if (frame.levels.length < nodesMax) return [];
  const width = (row: number) => frame.totals.reduce((sum, column) => sum + column[row]!, 0);
  const rows: number[] = [];
  frame.labels.forEach((label, row) => {
    if (label === FOLDED && row > 0 && (frame.levels[row + 1] ?? 0) <= frame.levels[row]!) rows.push(row);
  });
  return rows.sort((a, b) => width(b) - width(a) || a - b);
}

/** The frame with all that is below the call site `path` taken from `other`, in which it stands at the same path. */
export function replaceBelow(frame: Frame, path: readonly string[], other: Frame): Frame {
  const at = rowAt(frame, path);
  const from = rowAt(other, path);
  if (at === undefined || from === undefined) return frame;
  const [end, fromEnd] = [endOf(frame, at), endOf(other, from)];
  const spliced = <T>(column: readonly T[], theirs: readonly T[]) => [
    ...column.slice(0, at + 1),
    ...theirs.slice(from + 1, fromEnd),
    ...column.slice(end),
  ];
  return {
    levels: spliced(frame.levels, other.levels),
    labels: spliced(frame.labels, other.labels),
    totals: frame.totals.map((column, side) => spliced(column, other.totals[side]!)),
    selves: frame.selves.map((column, side) => spliced(column, other.selves[side]!)),
  };
}

/** What each function spends, itself and in total. A function that calls itself counts once. The root is none. */
export function functionsOf(frame: Frame): FunctionRow[] {
  const found = new Map<string, FunctionRow>();
  const stack: string[] = [];
  const onStack = new Map<string, number>();
  for (let row = 1; row < frame.levels.length; row++) {
    const name = frame.labels[row]!;
    while (stack.length >= frame.levels[row]!) leave(onStack, stack.pop()!);
    let spent = found.get(name);
    if (!spent) found.set(name, (spent = { name, self: frame.selves.map(() => 0), total: frame.totals.map(() => 0) }));
    for (let side = 0; side < frame.totals.length; side++) {
      spent.self[side]! += frame.selves[side]![row]!;
      if (!onStack.has(name)) spent.total[side]! += frame.totals[side]![row]!;
    }
    stack.push(name);
    onStack.set(name, (onStack.get(name) ?? 0) + 1);
  }
  return [...found.values()];
}

function leave(onStack: Map<string, number>, name: string): void {
  const left = onStack.get(name)! - 1;
  if (left === 0) onStack.delete(name);
  else onStack.set(name, left);
}

/** The frame without what is deeper than `levelsMax`: it is the own value of the last call sites that are left. */
export function cutLevels(frame: Frame, levelsMax: number): Frame {
  if (frame.levels.every((level) => level < levelsMax)) return frame;
  const cut = emptyFrame(sidesOf(frame));
  frame.levels.forEach((level, row) => {
    if (level >= levelsMax) return;
    const at = (columns: number[][]) => columns.map((column) => column[row]!);
    push(cut, level, frame.labels[row]!, at(frame.totals), at(level === levelsMax - 1 ? frame.totals : frame.selves));
  });
  return cut;
}
