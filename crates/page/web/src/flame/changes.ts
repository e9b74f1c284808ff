// How functions changed between two periods, as rows of a table.
import type { CompareFunctionsResponse, FunctionChange } from '../api/types';

/** From here on, in standard errors, a change is more than what slices of time vary by. */
export const SIGNIFICANT = 3;

export interface Change {
  name: string;
  /** Its place in the server's answer. */
  order: number;
  /** Shares of all, or values. */
  before: number;
  after: number;
  /** In per cent of before; infinite for what is new. */
  change: number;
  significance: number | undefined;
  of: FunctionChange;
}

export function changesOf(response: CompareFunctionsResponse, measure: 'self' | 'total', by: 'share' | 'value'): Change[] {
  const wholes = by === 'value' ? [1, 1] : [Number(response.totalBefore ?? 0), Number(response.totalAfter ?? 0)];
  return (response.functions ?? []).map((each, order) => {
    const values = measure === 'self' ? [each.selfBefore, each.selfAfter] : [each.totalBefore, each.totalAfter];
    const [before, after] = values.map((value, side) => (wholes[side] === 0 ? 0 : Number(value ?? 0) / wholes[side]!)) as [number, number];
    const significance = measure === 'self' ? each.selfSignificance : each.totalSignificance;
    return {
      name: each.name ?? '',
      order,
      before,
      after,
      change: changeOf(before, after),
      significance: significance === undefined ? undefined : Number(significance),
      of: each,
    };
  });
}

/** In per cent of `before`: -100 where all is gone, infinite where nothing was. */
export function changeOf(before: number, after: number): number {
  if (before === 0) return after === 0 ? 0 : Infinity;
  return (after / before - 1) * 100;
}
