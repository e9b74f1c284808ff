import { describe, expect, it } from 'vitest';
import { selvesIn, servicesByCost, sparkline } from '../src/views/explore/costs';
import { slicesOf, startsOf, stepOf, wholeStartsOf } from '../src/views/explore/steps';
import { Tally, enoughServices } from '../src/views/explore/tally';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const T = Date.UTC(2026, 4, 1, 12, 34, 56);

describe('steps', () => {
  it('are those of roll-ups for long ranges', () => {
    const step = (length: number) => stepOf({ start: T - length, end: T });
    expect(step(HOUR)).toBe(120_000);
    expect(step(DAY)).toBe(1_800_000);
    expect(step(2 * DAY)).toBe(HOUR);
    expect(step(30 * DAY) % HOUR).toBe(0);
    expect(step(30 * DAY)).toBe(DAY);
    expect(step(365 * DAY)).toBe(10 * DAY);
    expect(step(100 * 365 * DAY) % DAY).toBe(0);
  });

  it('cover the range, beginning before it', () => {
    const span = { start: T, end: T + 3 * HOUR };
    const starts = startsOf(span, HOUR);
    expect(starts).toEqual([12, 13, 14, 15].map((hour) => Date.UTC(2026, 4, 1, hour)));
    expect(startsOf({ start: 0, end: HOUR }, HOUR)).toEqual([0]);
  });

  it('are whole, unless there are few of them', () => {
    const span = { start: T, end: T + 5 * HOUR };
    expect(wholeStartsOf(span, HOUR)).toEqual([13, 14, 15, 16].map((hour) => Date.UTC(2026, 4, 1, hour)));
    expect(wholeStartsOf({ start: T, end: T + HOUR }, HOUR)).toHaveLength(2);
  });

  it('make slices of one length, one after the other', () => {
    const span = { start: T - 30 * DAY, end: T };
    const slices = slicesOf(span, 16);
    expect(slices.length).toBeGreaterThan(8);
    expect(slices.length).toBeLessThanOrEqual(16);
    slices.slice(1).forEach((slice, at) => expect(slice.start).toBe(slices[at]?.end));
    slices.forEach(({ start, end }) => expect([start % DAY, end - start]).toEqual([0, 2 * DAY]));
    expect(slicesOf({ start: T, end: T + 1 }, 16)).toEqual([{ start: T, end: T + 1 }]);
  });
});

describe('services by cost', () => {
  const point = (at: number, total: string) => ({ timeUnixNano: `${BigInt(at) * 1_000_000n}`, total });
  const line = (service: string, ...points: ReturnType<typeof point>[]) => ({
    labels: [{ name: 'service_name', value: service }],
    points,
  });
  const span = { start: 0, end: 3 * HOUR };

  it('are sorted by total, with a point a step', () => {
    const lines = [line('a', point(0, '1'), point(2 * HOUR, '2')), line('b', point(HOUR, '9')), line('c', point(0, '3'))];
    const costs = servicesByCost(lines, span, HOUR);
    expect(costs.map(({ service, total }) => [service, total])).toEqual([['b', 9n], ['a', 3n], ['c', 3n]]);
    expect(costs.map(({ points }) => points)).toEqual([[0, 9, 0], [1, 0, 2], [3, 0, 0]]);
    expect(costs.map(({ share }) => share)).toEqual([0.6, 0.2, 0.2]);
  });

  it('keep totals beyond what a double holds', () => {
    const [cost] = servicesByCost([line('a', point(0, '9007199254740993'))], span, HOUR);
    expect(cost?.total).toBe(9007199254740993n);
    expect(servicesByCost([{}], span, HOUR)[0]).toMatchObject({ service: '', total: 0n, share: 0 });
  });
});

describe('functions', () => {
  const top = (total: string, ...functions: [string, string][]) => ({
    total,
    functions: functions.map(([name, self]) => ({ name, self, total: self })),
  });

  it('have a value a slice', () => {
    const slices = [top('3', ['read', '1'], ['write', '2']), top('0'), top('5', ['read', '5'])];
    expect([...selvesIn(slices, ['read', 'write'])]).toEqual([['read', [1, 0, 5]], ['write', [2, 0, 0]]]);
  });

  it('add up over services, and know whose they are', () => {
    const tally = new Tally();
    tally.add('api', top('9', ['read', '2'], ['parse', '7']));
    tally.add('db', {});
    tally.add('web', top('6', ['read', '6']));
    expect([tally.total, tally.services]).toEqual([15n, 3]);
    const [first, second] = tally.largest(2);
    expect(first).toMatchObject({ name: 'read', self: 8n, total: 8n, share: 8 / 15 });
    expect(first?.parts.map(({ service, value, share }) => [service, value, share])).toEqual([
      ['web', 6n, 0.75],
      ['api', 2n, 0.25],
    ]);
    expect(second?.name).toBe('parse');
    expect(tally.largest(1)).toHaveLength(1);
    expect(new Tally().largest(5)).toEqual([]);
  });

  it('are ranked by value, then by name, beyond what a double holds', () => {
    const tally = new Tally();
    tally.add('a', top('0', ['z', '9007199254740993'], ['y', '9007199254740992'], ['x', '9007199254740993']));
    expect(tally.largest(3).map(({ name }) => name)).toEqual(['x', 'z', 'y']);
  });

  it('are asked of so many services that nearly all cost is covered', () => {
    const even = (services: number) => Array<number>(services).fill(1 / services);
    expect(enoughServices([])).toBe(0);
    expect(enoughServices([1, 0, 0])).toBe(3);
    expect(enoughServices(even(10))).toBe(10);
    expect(enoughServices([0.9, 0.06, ...Array<number>(98).fill(0.0004)])).toBe(8);
    expect(enoughServices(even(200))).toBe(64);
  });
});

describe('a sparkline', () => {
  it('goes from zero to the largest', () => {
    expect(sparkline([0, 5, 10], 20, 10)).toBe('0,10 10,5 20,0');
    expect(sparkline([0, 0], 20, 10)).toBe('0,10 20,10');
    expect(sparkline([4], 20, 10)).toBe('0,0 20,0');
    expect(sparkline([], 20, 10)).toBe('');
  });
});
