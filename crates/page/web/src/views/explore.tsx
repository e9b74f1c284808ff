// Explore: which services cost most, and which functions across them, over time. Services are answered by their totals, which
// roll-ups keep; functions by those of each service, the most expensive service first.
import { query } from '../api/client';
import type { TimeSeriesResponse } from '../api/types';
import { AnswerState, Notice, stateOf, useAnswer } from '../parts/answer';
import { QueryBar } from '../parts/bar';
import { useQuery } from '../parts/default-query';
import { Empty } from '../parts/empty';
import { usePage } from '../parts/page';
import { ReportNotices } from '../parts/report';
import { useAskedServices } from '../parts/services';
import { parseSelector, printSelector, withService } from '../selector';
import { nanos } from '../time';
import { formatValue, unitOf } from '../units';
import { servicesByCost, type ServiceCost } from './explore/costs';
import { Functions } from './explore/functions';
import { useRanked, type RankedFunctions } from './explore/ranked';
import { Services } from './explore/services';
import { SnapshotNote } from './explore/snapshot-note';
import { stepOf } from './explore/steps';
import './explore/explore.css';

const NONE: ServiceCost[] = [];

export default function Explore() {
  const { set, span, now } = usePage();
  const asking = useQuery();
  const known = useAskedServices();
  const selector = parseSelector(asking);
  const all = selector && selector.type !== '' ? printSelector(withService(selector, '')) : '';
  const selection = { query: all, startUnixNano: nanos(span.start), endUnixNano: nanos(span.end) };
  const key = all === '' ? '' : JSON.stringify([selection, now]);

  const services = useAnswer(key, async (signal) => {
    const step = stepOf(span);
    const request = { selection, stepNano: nanos(step), groupBy: ['service_name'] };
    const answer = await query<TimeSeriesResponse>('TimeSeries', request, signal);
    return { costs: servicesByCost(answer.lines ?? [], span, step), report: answer.report };
  });
  const { answer } = services;
  const found = answer.state === 'ready' ? answer.value : answer.previous;
  const functions = useRanked(answer.state === 'ready' ? key : '', found?.costs ?? NONE, selector, selection);

  const nothing = asking === '' && known.answer.state === 'ready';
  const ofServices = asking === '' ? stateOf(known.answer, () => true) : stateOf(answer, ({ costs }) => costs.length === 0);
  const ofFunctions = functions.isEnough ? 'ready' : stateOf(functions.asked.answer, () => false);
  const shown = nothing ? 'empty' : ofServices === 'ready' ? ofFunctions : ofServices;
  return (
    <section data-testid="view-explore" data-state={shown}>
      <h1 className="hidden">Explore</h1>
      <QueryBar query={asking} withoutService onQuery={(chosen) => set({ query: chosen })} />
      {asking === '' && <AnswerState asked={known} />}
      {shown === 'empty' && <Empty query={all} />}
      <SnapshotNote type={selector?.type ?? ''} />
      {key !== '' && shown !== 'empty' && (
        <div className="explore">
          <div className="panel">
            <h2>Services</h2>
            <AnswerState asked={services} key={key} />
            <ReportNotices report={found?.report} />
            {found && found.costs.length > 0 && <Services costs={found.costs} selector={selector} />}
          </div>
          <div className="panel">
            <h2>Functions</h2>
            {answer.state === 'ready' && <AnswerState asked={functions.asked} key={key} />}
            {functions.ranked && (
              <>
                <Coverage functions={functions} services={found?.costs.length ?? 0} unit={unitOf(selector?.type ?? '')} />
                <Functions
                  ranked={functions.ranked}
                  isWhole={functions.asked.answer.state === 'ready' && functions.ranked.services === found?.costs.length}
                  selection={selection}
                  selector={selector}
                />
              </>
            )}
          </div>
        </div>
      )}
    </section>
  );
}

/** Of which services the functions are, and a way to those of the others. */
function Coverage({ functions, services, unit }: { functions: RankedFunctions; services: number; unit: string }) {
  const { ranked, wanted, askAll, asked } = functions;
  if (!ranked) return null;
  const isDone = asked.answer.state === 'ready';
  return (
    <>
      <p className="hint" data-testid="explore-coverage" data-value={ranked.services}>
        The {ranked.costs.length} with the largest own value, of{' '}
        <span data-testid="functions-total" data-value={String(ranked.total)}>
          {formatValue(Number(ranked.total), unit)}
        </span>{' '}
        in {ranked.services === services ? `all ${services}` : `${ranked.services} of ${services}`} services
      </p>
      {isDone && wanted < services && (
        <Notice>
          The {services - wanted} services that cost least are left out. <button onClick={askAll}>Ask them too</button>
        </Notice>
      )}
    </>
  );
}
