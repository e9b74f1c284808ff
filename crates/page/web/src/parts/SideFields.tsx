// The fields and the timeline of one of two sides.
import { QueryFields } from './bar';
import { usePage } from './page';
import { RangePicker } from './range';
import type { SideName, SideState } from './sides';
import { TotalsTimeline } from './TotalsTimeline';

interface SideFieldsProps {
  name: SideName;
  title: string;
  side: SideState;
}

export function SideFields({ name, title, side }: SideFieldsProps) {
  const { now, set } = usePage();
  const query = (changed: string) => {
    side.set({ query: changed });
    set({ focus: [], sandwich: '' }, { replace: true });
  };
  return (
    <div className={`panel side ${name}`}>
      <h2>{title}</h2>
      <div className="bar">
        <QueryFields query={side.query} side={name} onQuery={query} />
        <RangePicker range={side.range} now={now} label={`Range of ${title}`} testId={`range-${name}`} onChange={side.set} />
      </div>
      {side.query !== '' && (
        <TotalsTimeline
          query={side.query}
          label={`Totals of ${title} over time`}
          testId={`timeline-${name}`}
          selected={side.span}
          color={`var(--${name})`}
          onSelect={side.select}
        />
      )}
    </div>
  );
}
