// A small line of values over time, from zero up, and a bar of parts of a whole.
import { sparkline, type Part } from './costs';

const WIDTH = 130;
const HEIGHT = 22;

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
      {parts.map(({ service, share }, at) => (
        <span key={service} className={service === 'others' ? 'others' : `part-${at % 4}`} style={{ width: `${share * 100}%` }} />
      ))}
    </span>
  );
}
