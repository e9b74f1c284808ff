// Colours of exported flame graphs: by package, as on the page, and by how much a share changed, on the page's scale.
import type { GrafanaTheme2 } from '@grafana/data';
import { getBarColorByPackage } from '#flamegraph/FlameGraph/colors';

/** Grey where nothing changed, red at twice the share and more, green where all is gone. */
const CHANGE = { less: [0, 170, 0], same: [148, 142, 142], more: [200, 0, 0] } as const;

/** The colour of a node whose share of all changed. */
export function colorOfChange(before: number, after: number, allBefore: number, allAfter: number): string {
  if (allBefore === 0 || allAfter === 0) return rgb(CHANGE.same);
  const [from, to] = [before / allBefore, after / allAfter];
  if (from === 0) return rgb(to === 0 ? CHANGE.same : CHANGE.more);
  const change = Math.max(-1, Math.min(1, to / from - 1));
  const end = change < 0 ? CHANGE.less : CHANGE.more;
  return rgb(CHANGE.same.map((part, index) => Math.round(part + (end[index]! - part) * Math.abs(change))));
}

const rgb = (parts: readonly number[]) => `rgb(${parts.join(',')})`;

/** All that is asked of a theme is whether it is light. */
const PAPER = { isLight: true } as GrafanaTheme2;

/** The colour of a function, one for all of its package. */
export function colorOfPackage(name: string): string {
  return getBarColorByPackage(name, PAPER).toHexString();
}
