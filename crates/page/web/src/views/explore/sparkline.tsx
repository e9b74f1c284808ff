// A small line of values over time, from zero up, and a bar of parts of a whole.
import { sparkline } from './costs';
import type { Part } from './tally';

const WIDTH = 130;
const HEIGHT = 22;
/** Parts that have a colour; the others are what is left of the bar. */
const COLOURS = 4;

export function Sparkline({ points, label }: { points: readonly number[]; label: string }) {
  return (
    <svg className="sparkline" viewBox={`-1 -1 ${WIDTH + 2} ${HEIGHT + 2}`} role="img" aria-label={label} preserveAspectRatio="none">
      <polyline points={sparkline(points, WIDTH, HEIGHT)} />
    </svg>
  );
}

/** Parts side by side, the largest first; what is said of them is the text beside. */
export function Parts({ parts }: { parts: readonly Part[] }) {
  return (
    <span className="parts" aria-hidden="true">
      {parts.slice(0, COLOURS).map(({ service, share }, at) => (
        <span key={service} className={`part-${at}`} style={{ width: `${share * 100}%` }} />
      ))}
    </span>
  );
}
