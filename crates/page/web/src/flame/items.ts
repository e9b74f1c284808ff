// Call sites of the drawn graph by their paths.
import type { FlameGraphDataContainer, LevelItem } from '#flamegraph/FlameGraph/dataTransform';

/** The functions from the root's first callee down to a call site. */
export function pathTo(container: FlameGraphDataContainer, item: LevelItem): string[] {
  const path: string[] = [];
  for (let at: LevelItem | undefined = item; at && at.level > 0; at = at.parents?.[0]) {
    path.unshift(container.getLabel(at.itemIndexes[0]!));
  }
  return path;
}

/** The call site that a path leads to; undefined for an empty path and where there is none. */
export function itemAt(container: FlameGraphDataContainer, root: LevelItem, path: readonly string[]): LevelItem | undefined {
  let item: LevelItem | undefined = root;
  for (const name of path) {
    item = item?.children.find((child) => container.getLabel(child.itemIndexes[0]!) === name);
  }
  return path.length === 0 ? undefined : item;
}
