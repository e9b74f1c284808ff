// Two selectors or two ranges laid over each other: what grew is red, what shrank is green; functions that grew by more than
// they vary come first.
import { useCallback } from 'react';
import { compareFunctions, diff, diffBelow, diffFolded, type Selected } from '../api/ask';
import type { CompareFunctionsResponse, DiffResponse } from '../api/types';
import { FlameView, NODES_MAX, preload } from '../flame/FlameView';
import { AnswerState, Notice, stateOf, useAnswer, type Asked } from '../parts/answer';
import { RangeControls } from '../parts/bar';
import { ChangesTable } from '../parts/ChangesTable';
import { fileName } from '../parts/download';
import { Empty } from '../parts/empty';
import { drawn } from '../parts/MergedGraph';
import { usePage } from '../parts/page';
import { ReportNotices } from '../parts/report';
import { useAskedServices } from '../parts/services';
import { SideFields } from '../parts/SideFields';
import { useSides } from '../parts/sides';
import { Total } from '../parts/Total';
import { parseSelector, serviceOf } from '../selector';
import { unitOf } from '../units';

/** Functions of the table at most: those that changed most. */
const FUNCTIONS_MAX = 2000;

interface Compared {
  before: Selected;
  after: Selected;
  response: DiffResponse;
}

const isEmptyDiff = ({ response }: Compared) => Number(response.flameGraph?.total ?? 0) === 0;

// The drawing comes while the first answer is on its way.
preload();

export default function Diff() {
  const { now } = usePage();
  const { left, right } = useSides();
  const services = useAskedServices();
  const before = { query: left.query, span: left.span };
  const after = { query: right.query, span: right.span };
  const key = left.query === '' || right.query === '' ? '' : JSON.stringify([before, after, now]);
  const asked = useAnswer(key, async (signal) => ({ before, after, response: await diff(before, after, NODES_MAX, signal) }));
  const changes = useAnswer(key, (signal) => compareFunctions(before, after, FUNCTIONS_MAX, signal));
  const nothing = key === '' && services.answer.state === 'ready';
  const shown = nothing ? 'empty' : stateOf(asked.answer, isEmptyDiff);
  const found = drawn(asked.answer);
  return (
    <section data-testid="view-diff" data-state={shown}>
      <h1 className="hidden">Diff view</h1>
      <div className="bar">
        <span className="spring" />
        <RangeControls />
      </div>
      <div className="sides">
        <SideFields name="left" title="Baseline" side={left} />
        <SideFields name="right" title="Comparison" side={right} />
      </div>
      <AnswerState asked={key === '' ? services : asked} />
      {shown === 'empty' && <Empty query={nothing ? '' : right.query} />}
      {found && !isEmptyDiff(found) && (
        <div className="panel" aria-busy={asked.answer.state === 'loading'}>
          <Graph {...found} changes={changes} />
        </div>
      )}
    </section>
  );
}

type GraphProps = Compared & { changes: Asked<CompareFunctionsResponse> };

function Graph({ before, after, response, changes }: GraphProps) {
  const graph = response.flameGraph ?? {};
  const selector = parseSelector(after.query) ?? { type: '', matchers: [] };
  const unit = unitOf(selector.type);
  const name = fileName(serviceOf(selector) ?? 'all', selector.type.split(':')[1] ?? '', 'diff');
  const expand = useCallback(
    (path: string[], signal: AbortSignal) => diffBelow(before, after, path, NODES_MAX, signal),
    [before, after]
  );
  const folded = async () => new Blob([(await diffFolded(before, after)).folded ?? ''], { type: 'text/plain' });
  return (
    <>
      <ReportNotices report={response.report} />
      {(Number(graph.leftTicks ?? 0) === 0 || Number(graph.rightTicks ?? 0) === 0) && (
        <Notice testId="one-sided">
          {Number(graph.leftTicks ?? 0) === 0 ? 'The baseline' : 'The comparison'} has no profiles: there is nothing to compare with.
        </Notice>
      )}
      <FlameView
        graph={graph}
        sides={2}
        type={selector.type}
        name={name}
        head={
          <span className="total">
            <Total value={graph.leftTicks} unit={unit} testId="total-left" /> to{' '}
            <Total value={graph.rightTicks} unit={unit} testId="total-right" report={response.report} />
          </span>
        }
        expand={expand}
        downloads={{ folded }}
        table={<ChangesTable asked={changes} unit={unit} />}
      />
    </>
  );
}
