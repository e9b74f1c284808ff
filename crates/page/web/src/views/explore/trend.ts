// How functions went over time. A function is known over time only by merging each slice of time, which costs as much as the
// whole range each where roll-ups are read: it is asked for where the whole was quick.
import { query } from '../../api/client';
import type { Selection, TopResponse } from '../../api/types';
import { nanos, type Span } from '../../time';
import { selvesIn } from './costs';
import { inTurns } from './in-turns';
import { slicesOf } from './steps';

/** Slices of the range, at most. */
const SLICES_MAX = 16;
/** How long the slices may take, in milliseconds, judged by the whole. */
const SLICES_MILLIS_MAX = 2500;
/** Slices on their way at the same time. */
const AT_ONCE = 2;
/** Functions asked for in a slice: those that are not among them have little of it. */
const FUNCTIONS_MAX = 500;
/** Ranges from here on are read from the sums of days and hours. */
const ROLLED_UP = 24 * 3_600_000;

/** Whether slices are quick enough, where the functions of the whole range took `took` milliseconds. */
export function isTrendQuick(took: number, { start, end }: Span): boolean {
  // Samples of slices add up to those of the whole; sums of days are as many in a slice as in the whole.
  const expected = end - start < ROLLED_UP ? took * 2 : (took * SLICES_MAX) / AT_ONCE;
  return expected <= SLICES_MILLIS_MAX;
}

/** The own values of functions, a slice after the other. */
export async function askTrend(
  selection: Selection,
  span: Span,
  names: readonly string[],
  signal: AbortSignal
): Promise<Map<string, number[]>> {
  const tops: TopResponse[] = [];
  await inTurns(slicesOf(span, SLICES_MAX), AT_ONCE, async ({ start, end }, at) => {
    const slice = { ...selection, startUnixNano: nanos(start), endUnixNano: nanos(end) };
    tops[at] = await query<TopResponse>('Top', { selection: slice, limit: FUNCTIONS_MAX }, signal);
  });
  return selvesIn(tops, names);
}
