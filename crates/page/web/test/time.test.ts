import { describe, expect, it } from 'vitest';
import { absolute, describe as words, formatLength, fromNanos, nanos, parseMoment, resolve, stepOf } from '../src/time';

const NOW = Date.UTC(2026, 4, 1, 12, 0, 0);
const HOUR = 3_600_000;

describe('moments', () => {
  const check = (text: string, expected: number | undefined) => expect(parseMoment(text, NOW)).toBe(expected);

  it('may be relative to now', () => {
    check('now', NOW);
    check(' now-1h ', NOW - HOUR);
    check('now+30s', NOW + 30_000);
    check('now-7d', NOW - 7 * 24 * HOUR);
    check('now-1M', NOW - 30 * 24 * HOUR);
  });

  it('may be numbers of seconds, milliseconds, microseconds and nanoseconds', () => {
    for (const digits of ['1777636800', '1777636800000', '1777636800000000', '1777636800000000000']) check(digits, NOW);
  });

  it('may be dates', () => {
    check('2026-05-01T12:00:00Z', NOW);
    check('2026-05-01 12:00:00Z', NOW);
  });

  it('are nothing else', () => {
    for (const text of ['', 'later', 'now-', 'now-1x', '2026', '2026-13-01']) check(text, undefined);
  });
});

describe('ranges', () => {
  it('have something between their ends', () => {
    expect(resolve({ from: 'now-1h', to: 'now' }, NOW)).toEqual({ start: NOW - HOUR, end: NOW });
    expect(resolve({ from: 'now', to: 'now' }, NOW)).toBeUndefined();
    expect(resolve({ from: 'now', to: 'now-1h' }, NOW)).toBeUndefined();
    expect(resolve({ from: '', to: 'now' }, NOW)).toBeUndefined();
  });

  it('are the same as absolute ones', () => {
    const span = { start: NOW - HOUR, end: NOW };
    expect(resolve(absolute(span), NOW + 99)).toEqual(span);
  });

  it('have names', () => {
    expect(words({ from: 'now-1h', to: 'now' }, NOW)).toBe('Last hour');
    expect(words({ from: 'x', to: 'now' }, NOW)).toBe('x to now');
    expect(words(absolute({ start: NOW, end: NOW + HOUR }), NOW)).toMatch(/^2026-0[45]-\d\d \d\d:\d\d:00 – /);
  });
});

describe('nanoseconds', () => {
  it('keep all digits', () => {
    expect(nanos(NOW)).toBe('1777636800000000000');
    expect(fromNanos('1777636800000999999')).toBe(NOW);
    expect(fromNanos(undefined)).toBe(0);
  });
});

describe('steps', () => {
  it('cut a span into no more than was asked for', () => {
    for (const length of [60_000, HOUR, 24 * HOUR, 400 * 24 * HOUR, 4000 * 24 * HOUR]) {
      const step = stepOf({ start: NOW, end: NOW + length }, 240);
      expect(length / step).toBeLessThanOrEqual(240);
      expect(step % 1000).toBe(0);
    }
    expect(stepOf({ start: 0, end: HOUR }, 240)).toBe(15_000);
  });
});

describe('lengths', () => {
  it('have their two largest units', () => {
    expect(formatLength(0)).toBe('0s');
    expect(formatLength(90_061_000)).toBe('1d 1h');
    expect(formatLength(15_000)).toBe('15s');
  });
});
