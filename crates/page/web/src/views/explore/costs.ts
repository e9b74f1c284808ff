// What services cost, and how values went over time, made of the API's answers.

import type { TimeSeriesLine, TopResponse } from '../../api/types';
import { fromNanos, type Span } from '../../time';
import { wholeStartsOf } from './steps';
import { partOf } from './tally';

export interface ServiceCost {
  service: string;
  total: bigint;
  /** Its part of all, of 1. */
  share: number;
  /** A total a step, of whole steps. */
  points: number[];
}

/** Services by falling cost, then name. */
export function servicesByCost(lines: readonly TimeSeriesLine[], span: Span, step: number): ServiceCost[] {
  const places = new Map(wholeStartsOf(span, step).map((start, at) => [start, at]));
  const costs = lines.map((line) => {
    const points = Array<number>(places.size).fill(0);
    let total = 0n;
    for (const point of line.points ?? []) {
      const value = BigInt(point.total ?? '0');
      total += value;
      const at = places.get(fromNanos(point.timeUnixNano));
      if (at !== undefined) points[at] = Number(value);
    }
    const service = line.labels?.find((label) => label.name === 'service_name')?.value ?? '';
    return { service, total, share: 0, points };
  });
  const all = costs.reduce((sum, { total }) => sum + total, 0n);
  return costs.map((cost) => ({ ...cost, share: partOf(cost.total, all) })).sort(byFallingTotal);
}

function byFallingTotal(a: ServiceCost, b: ServiceCost): number {
  if (a.total !== b.total) return a.total > b.total ? -1 : 1;
  return a.service < b.service ? -1 : 1;
}

/** The own values of functions in each of several answers, 0 where one does not name it. */
export function selvesIn(tops: readonly TopResponse[], names: readonly string[]): Map<string, number[]> {
  const byName = tops.map((top) => new Map((top.functions ?? []).map(({ name = '', self = '0' }) => [name, Number(self)])));
  return new Map(names.map((name) => [name, byName.map((selves) => selves.get(name) ?? 0)]));
}

/** A polyline through the points, in a box of the size, from zero up. */
export function sparkline(points: readonly number[], width: number, height: number): string {
  const most = Math.max(...points, 0);
  const step = points.length > 1 ? width / (points.length - 1) : 0;
  const y = (value: number) => (most > 0 ? height - (Math.max(value, 0) / most) * height : height);
  const shown = points.length === 1 ? [points[0] ?? 0, points[0] ?? 0] : points;
  return shown.map((value, at) => `${round(at * (step || width))},${round(y(value))}`).join(' ');
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
