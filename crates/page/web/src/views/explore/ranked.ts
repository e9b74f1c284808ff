// Functions across services, asked for service by service, the most expensive first. One merge of all services would hold the
// stacks of all at once; this shows the first functions after the first services, and can be ended at any time.
import { useRef, useState } from 'react';
import { query } from '../../api/client';
import type { Selection, TopResponse } from '../../api/types';
import { useAnswer, type Asked } from '../../parts/answer';
import { printSelector, withService, type Selector } from '../../selector';
import type { ServiceCost } from './costs';
import { inTurns } from './in-turns';
import { SERVICES_MIN, Tally, enoughServices, type FunctionCost } from './tally';

export interface Ranked {
  costs: FunctionCost[];
  /** What all functions of these services spend. */
  total: bigint;
  /** Services that were asked. */
  services: number;
  /** Milliseconds that it took. */
  took: number;
}

/** Functions that are shown. */
const SHOWN_MAX = 50;
/** Services on their way at the same time. */
const AT_ONCE = 3;
/** Functions of all services that are asked for, about, and how many of one at least and at most. */
const FUNCTIONS_OF_ALL = 20_000;
const FUNCTIONS_MIN = 500;
const FUNCTIONS_MAX = 10_000;
/** Functions that have come are shown so often, in milliseconds. */
const SHOWN_EVERY = 300;

/** The selector of one service, also of profiles without one. */
export function queryOf(selector: Selector, service: string): string {
  if (service !== '') return printSelector(withService(selector, service));
  const others = withService(selector, '').matchers;
  return printSelector({ ...selector, matchers: [{ name: 'service_name', operator: '=', value: '' }, ...others] });
}

export interface RankedFunctions {
  asked: Asked<Ranked>;
  /** The answer, or what has come of it. */
  ranked: Ranked | undefined;
  /** Whether that is of what is asked now, and of several services or all that are asked for. */
  isEnough: boolean;
  /** Services that are asked for. */
  wanted: number;
  /** Asks for the functions of all services. */
  askAll(): void;
}

/** The functions of the services, which are known by then; nothing is asked for with an empty key. */
export function useRanked(
  key: string,
  costs: readonly ServiceCost[],
  selector: Selector | undefined,
  selection: Selection
): RankedFunctions {
  const [all, setAll] = useState('');
  const [partial, setPartial] = useState<{ key: string; ranked: Ranked }>();
  // Answers of services are kept, so that asking for all goes on where it ended.
  const kept = useRef({ key: '', tops: new Map<string, TopResponse>() });
  const wanted = all === key ? costs.length : enoughServices(costs.map(({ share }) => share));
  const fullKey = key === '' || costs.length === 0 ? '' : `${wanted} ${key}`;
  const limit = Math.min(FUNCTIONS_MAX, Math.max(FUNCTIONS_MIN, Math.floor(FUNCTIONS_OF_ALL / Math.max(1, wanted))));

  const asked = useAnswer(fullKey, async (signal) => {
    if (kept.current.key !== key) kept.current = { key, tops: new Map() };
    const { tops } = kept.current;
    const tally = new Tally();
    const began = performance.now();
    let shownAt = 0;
    const found = (): Ranked => ({
      costs: tally.largest(SHOWN_MAX),
      total: tally.total,
      services: tally.services,
      took: performance.now() - began,
    });
    await inTurns(costs.slice(0, wanted), AT_ONCE, async ({ service }) => {
      const chosen = { ...selection, query: selector ? queryOf(selector, service) : selection.query };
      const top = tops.get(service) ?? (await query<TopResponse>('Top', { selection: chosen, limit }, signal));
      tops.set(service, top);
      tally.add(service, top);
      if (performance.now() - shownAt < SHOWN_EVERY) return;
      shownAt = performance.now();
      setPartial({ key: fullKey, ranked: found() });
    });
    return found();
  });
  const { answer } = asked;
  const coming = partial?.key === fullKey && answer.state !== 'error' ? partial.ranked : undefined;
  const ranked = answer.state === 'ready' ? answer.value : (coming ?? answer.previous);
  const isEnough = answer.state === 'ready' || (coming?.services ?? 0) >= SERVICES_MIN;
  return { asked, ranked, isEnough, wanted, askAll: () => setAll(key) };
}
