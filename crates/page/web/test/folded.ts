// Frames for tests, written as folded text: `a;b 3 4` has 3 on the left side and 4 on the right.
import type { FlameGraph } from '../src/api/types';
import { frameOf, sidesOf, type Frame, type Sides } from '../src/flame/frame';
import { flamebearer } from '../src/flame/exports';
import { emptyFrame, push } from '../src/flame/frame';

interface Node {
  name: string;
  selves: number[];
  children: Node[];
}

export function fromFolded(text: string, sides: Sides = 1): Frame {
  const none = () => Array<number>(sides).fill(0);
  const root: Node = { name: 'total', selves: none(), children: [] };
  for (const line of text.trim().split('\n')) {
    const words = line.trim().split(' ');
    const values = words.splice(-sides).map(Number);
    let node = root;
    for (const name of words.join(' ').split(';')) {
      let child = node.children.find((each) => each.name === name);
      if (!child) node.children.push((child = { name, selves: none(), children: [] }));
      node = child;
    }
    node.selves = node.selves.map((self, side) => self + values[side]!);
  }
  const frame = emptyFrame(sides);
  write(root, 0, frame);
  return frame;
}

function write(node: Node, level: number, frame: Frame): number[] {
  const row = frame.levels.length;
  const totals = [...node.selves];
  push(frame, level, node.name, totals, node.selves);
  for (const child of node.children) write(child, level + 1, frame).forEach((total, side) => (totals[side]! += total));
  frame.totals.forEach((column, side) => (column[row] = totals[side]!));
  return totals;
}

/** The rows, indented: `name total/self`, one pair a side. */
export function printed(frame: Frame): string {
  const line = (row: number) => {
    const values = frame.totals.map((column, side) => `${column[row]}/${frame.selves[side]![row]}`).join(' ');
    return `${'  '.repeat(frame.levels[row]!)}${frame.labels[row]} ${values}`;
  };
  return frame.levels.map((_, row) => line(row)).join('\n');
}

/** The frame as the server would answer it: levels of nodes. */
export function asGraph(frame: Frame): FlameGraph {
  const { names, levels } = flamebearer(frame, '', '').flamebearer;
  return { names, levels: levels.map((values) => ({ values: values.map(String) })) };
}

export const again = (frame: Frame) => frameOf(asGraph(frame), sidesOf(frame));
