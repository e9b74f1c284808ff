// Two selectors or two ranges side by side, each with its own flame graph.
import { preload } from '../flame/FlameView';
import { FlameTools } from '../flame/FlameTools';
import { AnswerState, stateOf } from '../parts/answer';
import { RangeControls } from '../parts/bar';
import { Empty } from '../parts/empty';
import { isEmptyMerge, MergedGraph, useMerge } from '../parts/MergedGraph';
import { useAskedServices } from '../parts/services';
import { SideFields } from '../parts/SideFields';
import { useSides, type SideName, type SideState } from '../parts/sides';

// The drawing comes while the first answer is on its way.
preload();

export default function Comparison() {
  const { left, right } = useSides();
  const services = useAskedServices();
  const asked = { left: useMerge(left.query, left.span), right: useMerge(right.query, right.span) };
  const nothing = left.query === '' && services.answer.state === 'ready';
  const states = [asked.left, asked.right].map((each) => stateOf(each.answer, isEmptyMerge));
  const side = (name: SideName, title: string, of: SideState) => (
    <div className="side-column">
      <SideFields name={name} title={title} side={of} />
      <AnswerState asked={of.query === '' ? services : asked[name]} part={name} />
      {stateOf(asked[name].answer, isEmptyMerge) === 'empty' && <Empty query={of.query} />}
      <MergedGraph asked={asked[name]} side={name} />
    </div>
  );
  return (
    <section data-testid="view-comparison" data-state={nothing ? 'empty' : together(states)}>
      <h1 className="hidden">Comparison view</h1>
      <div className="bar">
        <FlameTools sides={1} />
        <span className="spring" />
        <RangeControls />
      </div>
      {nothing && <Empty query="" />}
      <div className="sides">
        {side('left', 'Baseline', left)}
        {side('right', 'Comparison', right)}
      </div>
    </section>
  );
}

/** The state of a view whose sides have these. */
function together(states: readonly string[]): string {
  if (states.includes('loading')) return 'loading';
  if (states.includes('error')) return 'error';
  return states.every((each) => each === 'empty') ? 'empty' : 'ready';
}
