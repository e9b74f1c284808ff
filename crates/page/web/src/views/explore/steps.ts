// The steps of sparklines. Totals of steps that are whole hours or days are answered from the sums that roll-ups keep, so a long
// range is asked for in such steps and begins at one.

import type { Span } from '../../time';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Milliseconds. Those from an hour on are answered from roll-ups. */
const STEPS = [
  ...[1, 2, 5, 10, 15, 30].map((seconds) => seconds * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * MINUTE),
  ...[1, 2, 3, 6, 12].map((hours) => hours * HOUR),
  ...[1, 2, 5, 10, 30, 60, 90, 180, 360].map((days) => days * DAY),
];

const POINTS_MAX = 48;
/** With fewer whole steps those at the ends are shown too. */
const POINTS_MIN = 3;

/** The shortest step of which at most 48 make up the range. */
export function stepOf({ start, end }: Span): number {
  const longest = STEPS[STEPS.length - 1] ?? DAY;
  return STEPS.find((step) => (end - start) / step <= POINTS_MAX) ?? Math.ceil((end - start) / POINTS_MAX / longest) * longest;
}

/** The starts of the steps that the range touches. Steps lie at multiples of their length. */
export function startsOf({ start, end }: Span, step: number): number[] {
  const starts = [];
  for (let at = Math.floor(start / step) * step; at < end; at += step) starts.push(at);
  return starts;
}

/** The same without steps that the range has only a part of, which would look as if values had fallen. */
export function wholeStartsOf(span: Span, step: number): number[] {
  const starts = startsOf(span, step);
  const whole = starts.filter((start) => start >= span.start && start + step <= span.end);
  return whole.length >= POINTS_MIN ? whole : starts;
}

/** Pieces of the range, at most `pieces` of them and of one length, that begin at steps so that roll-ups answer them. */
export function slicesOf(span: Span, pieces: number): Span[] {
  const step = STEPS.find((length) => wholeStartsOf(span, length).length <= pieces) ?? span.end - span.start;
  const inside = (at: number) => ({ start: Math.max(at, span.start), end: Math.min(at + step, span.end) });
  return wholeStartsOf(span, step).map(inside).filter((slice) => slice.start < slice.end);
}
