// Explore: which services cost most, and which functions across all of them, over time. Services are answered from the sums that
// roll-ups keep, functions by one merge of all services.
import { query } from '../api/client';
import type { TimeSeriesResponse, TopResponse } from '../api/types';
import { AnswerState, stateOf, useAnswer, type Asked } from '../parts/answer';
import { QueryBar } from '../parts/bar';
import { useQuery } from '../parts/default-query';
import { Empty } from '../parts/empty';
import { usePage } from '../parts/page';
import { ReportNotices } from '../parts/report';
import { useAskedServices } from '../parts/services';
import { parseSelector, printSelector, withService } from '../selector';
import { nanos } from '../time';
import { functionCosts, servicesByCost } from './explore/costs';
import { Functions } from './explore/functions';
import { Services } from './explore/services';
import { SnapshotNote } from './explore/snapshot-note';
import { stepOf } from './explore/steps';
import './explore/explore.css';

const FUNCTIONS_MAX = 50;

export default function Explore() {
  const { set, span, now } = usePage();
  const asked = useQuery();
  const known = useAskedServices();
  const selector = parseSelector(asked);
  const all = selector && selector.type !== '' ? printSelector(withService(selector, '')) : '';
  const selection = { query: all, startUnixNano: nanos(span.start), endUnixNano: nanos(span.end) };
  const key = all === '' ? '' : JSON.stringify([selection, now]);

  const services = useAnswer(key, async (signal) => {
    const step = stepOf(span);
    const request = { selection, stepNano: nanos(step), groupBy: ['service_name'] };
    const answer = await query<TimeSeriesResponse>('TimeSeries', request, signal);
    return { costs: servicesByCost(answer.lines ?? [], span, step), report: answer.report };
  });
  const functions = useAnswer(key, async (signal) => {
    const asked = performance.now();
    const answer = await query<TopResponse>('Top', { selection, limit: FUNCTIONS_MAX }, signal);
    return { costs: functionCosts(answer), total: BigInt(answer.total ?? '0'), took: performance.now() - asked };
  });

  const nothing = asked === '' && known.answer.state === 'ready';
  const states = [
    stateOf(services.answer, ({ costs }) => costs.length === 0),
    stateOf(functions.answer, ({ costs }) => costs.length === 0),
  ];
  const ofAnswers = (['error', 'loading', 'ready'] as const).find((each) => states.includes(each)) ?? 'empty';
  const shown = nothing ? 'empty' : asked === '' ? stateOf(known.answer, () => true) : ofAnswers;
  const found = valueOf(services);
  const ranked = valueOf(functions);
  return (
    <section data-testid="view-explore" data-state={shown}>
      <h1 className="hidden">Explore</h1>
      <QueryBar query={asked} withoutService onQuery={(chosen) => set({ query: chosen })} />
      {asked === '' && <AnswerState asked={known} />}
      {shown === 'empty' && <Empty query={all} />}
      <SnapshotNote type={selector?.type ?? ''} />
      {key !== '' && shown !== 'empty' && (
        <div className="explore">
          <div className="panel">
            <h2>Services</h2>
            <AnswerState asked={services} key={`${key} services`} />
            <ReportNotices report={found?.report} />
            {found && found.costs.length > 0 && <Services costs={found.costs} selector={selector} />}
          </div>
          <div className="panel">
            <h2>Functions of all services</h2>
            <AnswerState asked={functions} key={`${key} functions`} />
            {ranked && ranked.costs.length > 0 && (
              <Functions
                {...ranked}
                selection={selection}
                selector={selector}
                services={(found?.costs ?? []).map(({ service }) => service)}
              />
            )}
          </div>
        </div>
      )}
    </section>
  );
}

/** The answer, or the one before it while it is on its way. */
function valueOf<T>({ answer }: Asked<T>): T | undefined {
  return answer.state === 'ready' ? answer.value : answer.previous;
}
