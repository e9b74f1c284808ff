// A merge with its total, its flame graph and its functions.
import { useCallback } from 'react';
import { merge, mergeAs, mergeBelow, top, type Selected } from '../api/ask';
import type { MergeResponse } from '../api/types';
import { FlameView, NODES_MAX } from '../flame/FlameView';
import type { FunctionRow } from '../flame/frame';
import { parseSelector, serviceOf } from '../selector';
import { formatMoment, type Span } from '../time';
import { unitOf } from '../units';
import { useAnswer, type Answer, type Asked } from './answer';
import { fileName, fromBase64 } from './download';
import { usePage } from './page';
import { ReportNotices } from './report';
import { Total } from './Total';

/** Functions that are asked for where the graph has not all of them. */
const FUNCTIONS_MAX = 10_000;

export interface Merged extends Selected {
  response: MergeResponse;
}

/** Asks for the merge of a query in a span; of nothing while the query is empty. */
export function useMerge(query: string, span: Span): Asked<Merged> {
  const { now } = usePage();
  return useAnswer(query && `${query} ${span.start} ${span.end} ${now}`, async (signal) => ({
    query,
    span,
    response: await merge({ query, span }, NODES_MAX, signal),
  }));
}

export const isEmptyMerge = ({ response }: Merged) => Number(response.flameGraph?.total ?? 0) === 0;

/** The answer, or the one before it while it is on its way. */
export function drawn<T>(answer: Answer<T>): T | undefined {
  if (answer.state === 'ready') return answer.value;
  return answer.state === 'loading' ? answer.previous : undefined;
}

interface MergedGraphProps {
  asked: Asked<Merged>;
  /** Empty, or the side that the graph is of. */
  side: '' | 'left' | 'right';
}

export function MergedGraph({ asked, side }: MergedGraphProps) {
  const merged = drawn(asked.answer);
  if (!merged || isEmptyMerge(merged)) return null;
  return (
    <div className="panel" aria-busy={asked.answer.state === 'loading'}>
      <Graph merged={merged} side={side} />
    </div>
  );
}

function Graph({ merged, side }: { merged: Merged; side: MergedGraphProps['side'] }) {
  const { query, span, response } = merged;
  const graph = response.flameGraph ?? {};
  const selector = parseSelector(query) ?? { type: '', matchers: [] };
  const functions = useAllFunctions(merged);
  const expand = useCallback(
    (path: string[], signal: AbortSignal) => mergeBelow({ query, span }, path, NODES_MAX, signal),
    [query, span]
  );
  const unit = unitOf(selector.type);
  const name = fileName(serviceOf(selector) ?? 'all', selector.type.split(':')[1] ?? '', formatMoment(span.start));
  return (
    <>
      <ReportNotices report={response.report} />
      <FlameView
        graph={graph}
        sides={1}
        type={selector.type}
        name={name}
        tools={side === ''}
        head={<Total value={graph.total} unit={unit} testId={side === '' ? 'total' : `total-${side}`} report={response.report} />}
        functions={functions}
        expand={expand}
        downloads={downloadsOf(merged)}
      />
    </>
  );
}

function downloadsOf(selected: Selected) {
  return {
    pprof: async () => new Blob([fromBase64((await mergeAs(selected, 'PPROF')).pprof ?? '')], { type: 'application/gzip' }),
    folded: async () => new Blob([(await mergeAs(selected, 'FOLDED')).folded ?? ''], { type: 'text/plain' }),
  };
}

/** The functions of all stacks, where the graph has folded some of them away. */
function useAllFunctions({ query, span, response }: Merged): FunctionRow[] | undefined {
  const { now } = usePage();
  const nodes = (response.flameGraph?.levels ?? []).reduce((sum, level) => sum + (level.values?.length ?? 0) / 4, 0);
  const truncated = nodes >= NODES_MAX;
  const { answer } = useAnswer(truncated ? `${query} ${span.start} ${span.end} ${now}` : '', async (signal) => {
    const { functions = [] } = await top({ query, span }, FUNCTIONS_MAX, signal);
    return functions.map((each): FunctionRow => ({
      name: each.name ?? '',
      self: [Number(each.self ?? 0)],
      total: [Number(each.total ?? 0)],
    }));
  });
  return truncated && answer.state === 'ready' ? answer.value : undefined;
}
