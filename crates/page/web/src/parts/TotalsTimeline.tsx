// The totals of a query over the page's range, asked for and drawn.
import { timeSeries } from '../api/ask';
import { fromNanos, stepOf, type Span } from '../time';
import { parseSelector } from '../selector';
import { unitOf } from '../units';
import { AnswerState, useAnswer } from './answer';
import { usePage } from './page';
import { Timeline, type Bar } from './Timeline';

/** Bars of a timeline, about. */
const BARS = 240;

interface TotalsTimelineProps {
  query: string;
  label: string;
  testId: string;
  selected?: Span;
  color?: string;
  onSelect(span: Span): void;
}

export function TotalsTimeline({ query, label, testId, selected, color, onSelect }: TotalsTimelineProps) {
  const { span, now } = usePage();
  const step = stepOf(span, BARS);
  const asked = useAnswer(query && `${query} ${span.start} ${span.end} ${now}`, async (signal) => {
    const { lines = [] } = await timeSeries({ query, span }, step, signal);
    const points = lines.flatMap((line) => line.points ?? []);
    return { span, step, bars: points.map((each): Bar => ({ time: fromNanos(each.timeUnixNano), total: Number(each.total ?? 0) })) };
  });
  const { answer } = asked;
  const shown = answer.state === 'ready' ? answer.value : answer.previous;
  // What is wrong with the query is said once, by the view's own answer.
  const told = answer.state === 'error' && answer.error.code === 'invalid_argument';
  if (!shown) return <div className="timeline-place">{!told && <AnswerState asked={asked} part={testId} />}</div>;
  return (
    <>
      {answer.state === 'error' && !told && <AnswerState asked={asked} part={testId} />}
      <Timeline
        bars={shown.bars}
        span={shown.span}
        step={shown.step}
        unit={unitOf(parseSelector(query)?.type ?? '')}
        label={label}
        testId={testId}
        selected={selected}
        {...(color ? { color } : {})}
        onSelect={onSelect}
      />
    </>
  );
}
