// The two sides of a comparison: each has a query and a span of its own, by default the page's and half of its range.
import type { Side } from '../state';
import { absolute, resolve, type Range, type Span } from '../time';
import { useDefaultQuery, useQuery } from './default-query';
import { usePage } from './page';

export type SideName = 'left' | 'right';

export interface SideState {
  query: string;
  span: Span;
  range: Range;
  set(change: Partial<Side>): void;
  select(span: Span): void;
}

export function useSide(name: SideName): SideState {
  const { state, span: whole, now, set } = usePage();
  const query = useDefaultQuery();
  const side = state[name];
  const half = halfOf(whole, name);
  const given = resolve(side, now);
  const change = (changed: Partial<Side>) => set({ [name]: { ...side, ...changed } });
  return {
    query: side.query || query,
    span: given ?? half,
    range: given ? side : absolute(half),
    set: change,
    select: (span) => change(absolute(span)),
  };
}

/** Both sides; the default query is put into the link. */
export function useSides(): Record<SideName, SideState> {
  useQuery();
  return { left: useSide('left'), right: useSide('right') };
}

/** The first half of a span, or the second; cut at a whole millisecond. */
export function halfOf(span: Span, name: SideName): Span {
  const middle = Math.floor((span.start + span.end) / 2);
  return name === 'left' ? { start: span.start, end: middle } : { start: middle, end: span.end };
}
