// Functions across services, added up from the functions of each. Values of services add up exactly: a series belongs to one.

import type { TopResponse } from '../../api/types';

/** A part of a function's own value. */
export interface Part {
  service: string;
  value: bigint;
  /** Of the function's own value, of 1. */
  share: number;
}

export interface FunctionCost {
  name: string;
  self: bigint;
  total: bigint;
  /** Its own part of all, of 1. */
  share: number;
  /** Whose it is, the largest part first. */
  parts: Part[];
}

interface Sum {
  self: bigint;
  total: bigint;
  byService: Map<string, bigint>;
}

export class Tally {
  /** What all functions of the services spend. */
  total = 0n;
  /** Services that were added. */
  services = 0;
  private readonly sums = new Map<string, Sum>();

  add(service: string, top: TopResponse): void {
    this.services += 1;
    this.total += BigInt(top.total ?? '0');
    for (const { name = '', self = '0', total = '0' } of top.functions ?? []) {
      const sum = this.sums.get(name) ?? { self: 0n, total: 0n, byService: new Map<string, bigint>() };
      this.sums.set(name, sum);
      const own = BigInt(self);
      sum.self += own;
      sum.total += BigInt(total);
      if (own !== 0n) sum.byService.set(service, own);
    }
  }

  /** The functions with the largest own values, then by name. */
  largest(limit: number): FunctionCost[] {
    const order = ([a, left]: [string, Sum], [b, right]: [string, Sum]) =>
      left.self === right.self ? (a < b ? -1 : 1) : left.self > right.self ? -1 : 1;
    const first = [...this.sums].sort(order).slice(0, limit);
    return first.map(([name, { self, total, byService }]) => {
      const parts = [...byService].map(([service, value]) => ({ service, value, share: partOf(value, self) }));
      parts.sort((a, b) => (a.value === b.value ? 0 : a.value > b.value ? -1 : 1));
      return { name, self, total, share: partOf(self, this.total), parts };
    });
  }
}

export function partOf(value: bigint, all: bigint): number {
  return all === 0n ? 0 : Number(value) / Number(all);
}

/** Services whose functions are asked for: so many that their cost is nearly all, within bounds. */
export const SERVICES_MIN = 8;
const SERVICES_MAX = 64;
const COST_ENOUGH = 0.95;

/** How many of the services, which are in order of falling cost, to ask for their functions. */
export function enoughServices(shares: readonly number[]): number {
  let covered = 0;
  const reached = shares.findIndex((share) => (covered += share) >= COST_ENOUGH);
  const enough = reached < 0 ? shares.length : reached + 1;
  return Math.min(shares.length, SERVICES_MAX, Math.max(SERVICES_MIN, enough));
}
