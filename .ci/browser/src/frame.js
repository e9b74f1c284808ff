// Flame graphs as the querier answers them, as the frame of nested sets that Grafana's component takes.

/**
 * The nodes of a level, from left to right. A node is `width` numbers, the first of each side the distance from the end
 * of the node before it: (offset, total, self), once or for each of two sides, then the index of the name.
 */
function nodesOf(values, names, sides) {
  const width = sides * 3 + 1;
  const ends = Array(sides).fill(0);
  const nodes = [];
  for (let at = 0; at < values.length; at += width) {
    const node = { name: names[values[at + width - 1]], start: 0, end: 0, totals: [], selves: [] };
    for (let side = 0; side < sides; side++) {
      const [offset, total, self] = values.slice(at + side * 3, at + side * 3 + 3);
      node.start += ends[side] + offset;
      ends[side] += offset + total;
      node.end += ends[side];
      node.totals.push(total);
      node.selves.push(self);
    }
    nodes.push(node);
  }
  return nodes;
}

/** Rows in preorder: { level, label, totals, selves }, totals and selves with one number a side. */
export function rowsOf(graph, sides) {
  const levels = graph.levels.map((level) => nodesOf((level.values ?? []).map(Number), graph.names, sides));
  const next = levels.map(() => 0);
  const rows = [];
  const walk = (depth, end) => {
    const level = levels[depth] ?? [];
    // a node of no width belongs to the parent at whose place it stands
    while (next[depth] < level.length && level[next[depth]].end <= end) {
      const node = level[next[depth]++];
      rows.push({ level: depth, label: node.name, totals: node.totals, selves: node.selves });
      walk(depth + 1, node.end);
    }
  };
  walk(0, Infinity);
  if (next.some((done, depth) => done !== levels[depth].length)) throw new Error('a node lies outside of its parent');
  return rows;
}
