// The inverted flame graph: functions by their own values, and below each who calls it.
//
// Every stack is read from its leaf. Deep graphs have many more such stacks than nodes, so the largest nodes are unfolded
// first, and what is below the smallest ones is folded into `other`, as the server does it.
import { FOLDED, emptyFrame, push, type Frame } from './frame';

/** A node of the inverted tree with the rows that its stacks stand at, and what each row contributes from which leaf. */
interface Node {
  label: string;
  level: number;
  totals: number[];
  selves: number[];
  /** Where the stacks of this node go on: the row of this node's call site, and the leaf whose value counts. */
  ends: Array<readonly [at: number, leaf: number]>;
  children: Node[];
}

/** The inverted frame, of `nodesMax` nodes or a few more. */
export function invert(frame: Frame, nodesMax: number): Frame {
  const inverted = emptyFrame(frame.totals.length === 2 ? 2 : 1);
  if (frame.levels.length === 0) return inverted;
  const root = rootOf(frame);
  unfold(frame, root, parentsOf(frame), nodesMax);
  write(root, inverted);
  return inverted;
}

function rootOf(frame: Frame): Node {
  const root: Node = {
    label: frame.labels[0]!,
    level: 0,
    totals: frame.totals.map((column) => column[0]!),
    // What is spent in no function at all stays with the root.
    selves: frame.selves.map((column) => column[0]!),
    ends: [],
    children: [],
  };
  for (let row = 1; row < frame.levels.length; row++) {
    if (frame.selves.some((column) => column[row] !== 0)) root.ends.push([row, row]);
  }
  return root;
}

function parentsOf(frame: Frame): Int32Array {
  const parents = new Int32Array(frame.levels.length);
  const last: number[] = [];
  frame.levels.forEach((level, row) => {
    parents[row] = level === 0 ? -1 : last[level - 1]!;
    last[level] = row;
  });
  return parents;
}

const widthOf = (node: Node) => node.totals.reduce((sum, total) => sum + total, 0);

function unfold(frame: Frame, root: Node, parents: Int32Array, nodesMax: number): void {
  const waiting = new Heap();
  let nodes = 1;
  const open = (node: Node) => {
    node.children = callersOf(frame, node);
    nodes += node.children.length;
    for (const child of node.children) {
      child.ends = child.ends.map(([at, leaf]) => [parents[at]!, leaf] as const).filter(([at]) => at > 0);
      if (child.ends.length > 0) waiting.push(child);
    }
  };
  open(root);
  for (let node = waiting.pop(); node; node = waiting.pop()) {
    if (nodes < nodesMax) open(node);
    else fold(frame, node);
  }
}

/** The functions at the ends of a node's stacks, by name. */
function callersOf(frame: Frame, node: Node): Node[] {
  const callers = new Map<string, Node>();
  for (const [at, leaf] of node.ends) {
    const label = frame.labels[at]!;
    let caller = callers.get(label);
    if (!caller) {
      const none = frame.totals.map(() => 0);
      caller = { label, level: node.level + 1, totals: none, selves: [...none], ends: [], children: [] };
      callers.set(label, caller);
    }
    caller.ends.push([at, leaf]);
    for (let side = 0; side < frame.selves.length; side++) {
      const value = frame.selves[side]![leaf]!;
      caller.totals[side]! += value;
      // The value is the leaf's own, wherever the graph shows it: the first level stands for the leaves.
      if (node.level === 0) caller.selves[side]! += value;
    }
  }
  return [...callers.values()].sort((a, b) => (a.label < b.label ? -1 : 1));
}

function fold(frame: Frame, node: Node): void {
  const totals = frame.selves.map((column) => node.ends.reduce((sum, [, leaf]) => sum + column[leaf]!, 0));
  node.children = [{ label: FOLDED, level: node.level + 1, totals, selves: totals.map(() => 0), ends: [], children: [] }];
}

function write(root: Node, frame: Frame): void {
  const stack = [root];
  for (let node = stack.pop(); node; node = stack.pop()) {
    push(frame, node.level, node.label, node.totals, node.selves);
    for (let child = node.children.length - 1; child >= 0; child--) stack.push(node.children[child]!);
  }
}

/** Nodes by falling width. */
class Heap {
  private readonly nodes: Node[] = [];

  push(node: Node): void {
    const { nodes } = this;
    let at = nodes.length;
    nodes.push(node);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (widthOf(nodes[parent]!) >= widthOf(node)) break;
      nodes[at] = nodes[parent]!;
      at = parent;
    }
    nodes[at] = node;
  }

  pop(): Node | undefined {
    const { nodes } = this;
    const first = nodes[0];
    const last = nodes.pop();
    if (last && nodes.length > 0) this.sink(last);
    return first;
  }

  private sink(node: Node): void {
    const { nodes } = this;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= nodes.length) break;
      if (child + 1 < nodes.length && widthOf(nodes[child + 1]!) > widthOf(nodes[child]!)) child++;
      if (widthOf(nodes[child]!) <= widthOf(node)) break;
      nodes[at] = nodes[child]!;
      at = child;
    }
    nodes[at] = node;
  }
}
