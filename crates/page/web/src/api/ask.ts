// The questions that the views ask, in the words of the page.
import { querier, query, sql } from './client';
import type { Span } from '../time';
import { nanos } from '../time';
import { parseSelector, printMatchers } from '../selector';
import type {
  CompareFunctionsResponse,
  DiffResponse,
  FlameGraph,
  FlameGraphDiff,
  MergeResponse,
  Selection,
  Series,
  TimeSeriesResponse,
  TopResponse,
} from './types';

/** Profiles of a query in a span. */
export interface Selected {
  query: string;
  span: Span;
}

export function selectionOf({ query, span }: Selected): Selection {
  return { query, startUnixNano: nanos(span.start), endUnixNano: nanos(span.end) };
}

export function merge(selected: Selected, maxNodes: number, signal?: AbortSignal): Promise<MergeResponse> {
  return query('Merge', { selection: selectionOf(selected), format: 'ANSWER_FORMAT_FLAME_GRAPH', maxNodes: String(maxNodes) }, signal);
}

export function mergeAs(selected: Selected, format: 'PPROF' | 'FOLDED'): Promise<MergeResponse> {
  return query('Merge', { selection: selectionOf(selected), format: `ANSWER_FORMAT_${format}` });
}

export function diff(before: Selected, after: Selected, maxNodes: number, signal?: AbortSignal): Promise<DiffResponse> {
  const request = { ...sidesOf(before, after), format: 'ANSWER_FORMAT_FLAME_GRAPH', maxNodes: String(maxNodes) };
  return query('Diff', request, signal);
}

export function diffFolded(before: Selected, after: Selected): Promise<DiffResponse> {
  return query('Diff', { ...sidesOf(before, after), format: 'ANSWER_FORMAT_FOLDED' });
}

export function compareFunctions(
  before: Selected,
  after: Selected,
  limit: number,
  signal?: AbortSignal
): Promise<CompareFunctionsResponse> {
  return query('CompareFunctions', { ...sidesOf(before, after), limit }, signal);
}

const sidesOf = (before: Selected, after: Selected) => ({ before: selectionOf(before), after: selectionOf(after) });

export function top(selected: Selected, limit: number, signal?: AbortSignal): Promise<TopResponse> {
  return query('Top', { selection: selectionOf(selected), limit }, signal);
}

export function timeSeries(selected: Selected, step: number, signal?: AbortSignal): Promise<TimeSeriesResponse> {
  return query('TimeSeries', { selection: selectionOf(selected), stepNano: nanos(step) }, signal);
}

/** The moment of a query's newest profile, of all times. Asked of the series, of which there are few, and not of profiles. */
export async function newest(queryText: string, signal?: AbortSignal): Promise<number | undefined> {
  const selector = queryText.replaceAll("'", "''");
  const statement = `SELECT CAST(max(last_time) AS BIGINT) FROM series WHERE selects(labels, profile_type, '${selector}')`;
  const { rows } = await sql(statement, 1, signal);
  const nanoseconds = rows[0]?.[0];
  return nanoseconds === null || nanoseconds === undefined ? undefined : Math.floor(Number(nanoseconds) / 1e6);
}

/** The services that have profiles in a span, and of which types: `[service, types]`, both in order. */
export async function services(span: Span, signal?: AbortSignal): Promise<Map<string, string[]>> {
  const request = { selection: selectionOf({ query: '{}', span }), labelNames: ['service_name'] };
  const { series = [] } = await query<{ series?: Series[] }>('Series', request, signal);
  const found = new Map<string, Set<string>>();
  for (const each of series) {
    const name = each.labels?.find((label) => label.name === 'service_name')?.value ?? '';
    found.set(name, (found.get(name) ?? new Set()).add(each.profileType));
  }
  const inOrder = [...found].sort(([a], [b]) => (a < b ? -1 : 1));
  return new Map(inOrder.map(([name, types]) => [name, [...types].sort()]));
}

export async function labelNames(selected: Selected, signal?: AbortSignal): Promise<string[]> {
  const answer = await query<{ names?: string[] }>('LabelNames', { selection: selectionOf(selected) }, signal);
  return answer.names ?? [];
}

export async function labelValues(selected: Selected, name: string, signal?: AbortSignal): Promise<string[]> {
  const answer = await query<{ values?: string[] }>('LabelValues', { selection: selectionOf(selected), name }, signal);
  return answer.values ?? [];
}

/** The graph of the stacks that begin with `path`, of the same profiles as a merge. */
export async function mergeBelow(selected: Selected, path: string[], maxNodes: number, signal?: AbortSignal): Promise<FlameGraph> {
  const request = below(selected, path, maxNodes);
  const answer = await querier<{ flamegraph?: FlameGraph }>('SelectMergeStacktraces', request, signal);
  return answer.flamegraph ?? {};
}

export async function diffBelow(
  before: Selected,
  after: Selected,
  path: string[],
  maxNodes: number,
  signal?: AbortSignal
): Promise<FlameGraphDiff> {
  const request = { left: below(before, path, maxNodes), right: below(after, path, maxNodes) };
  const answer = await querier<{ flamegraph?: FlameGraphDiff }>('Diff', request, signal);
  return answer.flamegraph ?? {};
}

function below({ query: text, span }: Selected, path: string[], maxNodes: number): object {
  const selector = parseSelector(text) ?? { type: text, matchers: [] };
  return {
    profileTypeID: selector.type,
    labelSelector: printMatchers(selector.matchers),
    start: String(span.start),
    end: String(span.end),
    // All stacks begin with the root: more of them is all that can be asked for there.
    maxNodes: String(path.length === 0 ? 8 * maxNodes : maxNodes),
    stackTraceSelector: { callSite: path.map((name) => ({ name })) },
  };
}
