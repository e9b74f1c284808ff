// What stands beside functions. Over time a function is known only by merging each slice of time, which costs as much as the
// whole range each where roll-ups are read: where that is slow, a merge of each of the largest services is asked for instead.
import { query } from '../../api/client';
import type { Selection, TopResponse } from '../../api/types';
import { printSelector, withService, type Selector } from '../../selector';
import { nanos, type Span } from '../../time';
import { partsOf, selvesIn, type FunctionCost, type Part } from './costs';
import { slicesOf } from './steps';

export type Detail =
  | { kind: 'trend'; points: Map<string, number[]> }
  | { kind: 'services'; parts: Map<string, Part[]> };

/** Slices of the range, at most. */
const SLICES_MAX = 16;
/** Of so many services a function's own value is told apart; the others are one part. */
const SERVICES_MAX = 8;
/** How long the slices may take, in milliseconds, judged by the whole. */
const SLICES_MILLIS_MAX = 2500;
/** Requests on their way at the same time. */
const AT_ONCE = 2;
/** Functions asked for in a slice or a service: those that are not among them have little of it. */
const FUNCTIONS_MAX = 500;

/** Ranges from here on are read from the sums of days and hours. */
const ROLLED_UP = 24 * 3_600_000;

/** Which detail is quick enough, where the functions of the whole range took `took` milliseconds. */
export function plannedDetail(took: number, services: number, { start, end }: Span): Detail['kind'] {
  // Samples of slices add up to those of the whole; sums of days are as many in a slice as in the whole.
  const expected = end - start < ROLLED_UP ? took * 2 : (took * SLICES_MAX) / AT_ONCE;
  return services <= 1 || expected <= SLICES_MILLIS_MAX ? 'trend' : 'services';
}

export interface About {
  selection: Selection;
  span: Span;
  selector: Selector | undefined;
  services: readonly string[];
  costs: readonly FunctionCost[];
}

export async function askDetail(kind: Detail['kind'], about: About, signal: AbortSignal): Promise<Detail> {
  const { selection, span, selector, costs } = about;
  const top = (asked: Selection) => query<TopResponse>('Top', { selection: asked, limit: FUNCTIONS_MAX }, signal);
  if (kind === 'trend') {
    const tops = await inTurns(slicesOf(span, SLICES_MAX), ({ start, end }) =>
      top({ ...selection, startUnixNano: nanos(start), endUnixNano: nanos(end) })
    );
    return { kind, points: selvesIn(tops, costs.map(({ name }) => name)) };
  }
  const services = about.services.slice(0, SERVICES_MAX);
  const tops = await inTurns(services, (service) =>
    top({ ...selection, query: selector ? printSelector(withService(selector, service)) : selection.query })
  );
  const byService = new Map(services.map((service, at) => [service, tops[at] ?? {}]));
  return { kind, parts: new Map(costs.map((cost) => [cost.name, partsOf(cost, byService)])) };
}

/** The answers of all, of which few are asked for at the same time. */
async function inTurns<T, Answer>(all: readonly T[], ask: (each: T) => Promise<Answer>): Promise<Answer[]> {
  const answers: Answer[] = [];
  let next = 0;
  const work = async () => {
    while (next < all.length) {
      const at = next++;
      answers[at] = await ask(all[at] as T);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return answers;
}
