// One selector, one range: its totals over time, its functions, its flame graph.
import { preload } from '../flame/FlameView';
import { AnswerState, stateOf } from '../parts/answer';
import { QueryBar } from '../parts/bar';
import { useQuery } from '../parts/default-query';
import { Empty } from '../parts/empty';
import { isEmptyMerge, MergedGraph, useMerge } from '../parts/MergedGraph';
import { usePage } from '../parts/page';
import { useAskedServices } from '../parts/services';
import { TotalsTimeline } from '../parts/TotalsTimeline';
import { absolute } from '../time';

// The drawing comes while the first answer is on its way.
preload();

export default function Single() {
  const { span, set } = usePage();
  const query = useQuery();
  const services = useAskedServices();
  const asked = useMerge(query, span);
  const nothing = query === '' && services.answer.state === 'ready';
  const shown = query === '' ? stateOf(services.answer, () => true) : stateOf(asked.answer, isEmptyMerge);
  return (
    <section data-testid="view-single" data-state={shown}>
      <h1 className="hidden">Single view</h1>
      <QueryBar query={query} onQuery={(changed) => set({ query: changed, focus: [], sandwich: '' })} />
      {query !== '' && (
        <TotalsTimeline query={query} label="Totals over time" testId="timeline" onSelect={(part) => set(absolute(part))} />
      )}
      <AnswerState asked={query === '' ? services : asked} />
      {shown === 'empty' && <Empty query={nothing ? '' : query} />}
      <MergedGraph asked={asked} side="" />
    </section>
  );
}
