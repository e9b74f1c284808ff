// Moments and ranges as people write them: relative to now, or absolute.

/** A range in milliseconds since 1970: start <= t < end. */
export interface Span {
  start: number;
  end: number;
}

/** Two moments as they stand in the URL. */
export interface Range {
  from: string;
  to: string;
}

const UNITS: Record<string, number> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
  M: 30 * 86_400_000,
  y: 365 * 86_400_000,
};

/** The ranges that the picker offers. */
export const RELATIVE_RANGES: ReadonlyArray<{ from: string; label: string }> = [
  { from: 'now-5m', label: 'Last 5 minutes' },
  { from: 'now-15m', label: 'Last 15 minutes' },
  { from: 'now-30m', label: 'Last 30 minutes' },
  { from: 'now-1h', label: 'Last hour' },
  { from: 'now-3h', label: 'Last 3 hours' },
  { from: 'now-6h', label: 'Last 6 hours' },
  { from: 'now-12h', label: 'Last 12 hours' },
  { from: 'now-24h', label: 'Last 24 hours' },
  { from: 'now-2d', label: 'Last 2 days' },
  { from: 'now-7d', label: 'Last 7 days' },
  { from: 'now-30d', label: 'Last 30 days' },
  { from: 'now-90d', label: 'Last 90 days' },
  { from: 'now-1y', label: 'Last year' },
];

/**
 * The milliseconds since 1970 that `text` names: `now`, `now-1h`, `now+5m`, a number of seconds, milliseconds (13 digits),
 * microseconds (16) or nanoseconds (19), or a date and time. Undefined where it names none.
 */
export function parseMoment(text: string, now: number): number | undefined {
  const trimmed = text.trim();
  const relative = /^now(?:([+-])(\d+)([smhdwMy]))?$/.exec(trimmed);
  if (relative) {
    const [, sign, count, unit] = relative;
    const distance = sign === undefined ? 0 : Number(count) * UNITS[unit as string]!;
    return sign === '-' ? now - distance : now + distance;
  }
  if (/^\d{9,19}$/.test(trimmed)) return fromDigits(trimmed);
  if (!/^\d{4}-\d{2}/.test(trimmed)) return undefined;
  const parsed = Date.parse(trimmed.replace(' ', 'T'));
  return Number.isNaN(parsed) ? undefined : parsed;
}

function fromDigits(digits: string): number {
  if (digits.length <= 10) return Number(digits) * 1000;
  if (digits.length <= 13) return Number(digits);
  if (digits.length <= 16) return Math.floor(Number(digits) / 1000);
  return Number(BigInt(digits) / 1_000_000n);
}

/** The span of a range at the moment `now`; undefined where an end is no moment, or nothing lies between them. */
export function resolve(range: Range, now: number): Span | undefined {
  const start = parseMoment(range.from, now);
  const end = parseMoment(range.to, now);
  return start === undefined || end === undefined || start >= end ? undefined : { start, end };
}

/** A span as a range of absolute moments. */
export function absolute(span: Span): Range {
  return { from: String(Math.round(span.start)), to: String(Math.round(span.end)) };
}

/** Nanoseconds, as the API takes them. */
export function nanos(milliseconds: number): string {
  return `${Math.round(milliseconds)}000000`;
}

/** Milliseconds of the API's nanoseconds. */
export function fromNanos(nanoseconds: string | undefined): number {
  return nanoseconds === undefined ? 0 : Number(BigInt(nanoseconds) / 1_000_000n);
}

const two = (number: number) => String(number).padStart(2, '0');

/** `2026-05-01 12:00:00` of the reader's zone. */
export function formatMoment(milliseconds: number): string {
  const date = new Date(milliseconds);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** `1h 30m`: the two largest units that a length has. */
export function formatLength(milliseconds: number): string {
  const parts: string[] = [];
  let rest = Math.max(0, Math.round(milliseconds / 1000));
  for (const [unit, seconds] of [['d', 86_400], ['h', 3_600], ['m', 60], ['s', 1]] as const) {
    const count = Math.floor(rest / seconds);
    rest -= count * seconds;
    if (count > 0) parts.push(`${count}${unit}`);
  }
  return parts.slice(0, 2).join(' ') || '0s';
}

/** What a range is called: a relative one by its words, an absolute one by its ends. */
export function describe(range: Range, now: number): string {
  const known = range.to === 'now' ? RELATIVE_RANGES.find((each) => each.from === range.from) : undefined;
  if (known) return known.label;
  const span = resolve(range, now);
  if (!span) return `${range.from} to ${range.to}`;
  const start = formatMoment(span.start);
  const end = formatMoment(span.end);
  const shortEnd = start.slice(0, 10) === end.slice(0, 10) ? end.slice(11) : end;
  return `${start} – ${shortEnd}`;
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];

/** The width of a step in milliseconds that gives a span at most `points` of them. */
export function stepOf(span: Span, points: number): number {
  const wanted = (span.end - span.start) / 1000 / points;
  const step = STEPS.find((each) => each >= wanted) ?? Math.ceil(wanted / 86_400) * 86_400;
  return step * 1000;
}
