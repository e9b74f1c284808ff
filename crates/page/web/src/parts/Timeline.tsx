// Totals over time as bars. Dragging over them selects a part: with the mouse, a finger, or the arrow keys.
import { useRef, useState, type KeyboardEvent, type PointerEvent } from 'react';
import { formatMoment, formatLength, type Span } from '../time';
import { formatValue } from '../units';

export interface Bar {
  time: number;
  total: number;
}

interface TimelineProps {
  bars: readonly Bar[];
  span: Span;
  /** The width of a bar in milliseconds. */
  step: number;
  unit: string;
  label: string;
  testId: string;
  /** The part that is selected; all, if there is none. */
  selected?: Span | undefined;
  color?: string;
  onSelect(span: Span): void;
}

const HEIGHT = 72;
/** A drag of less is a click. */
const DRAG_MIN = 4;

export function Timeline(props: TimelineProps) {
  const { bars, span, step, unit, selected } = props;
  const box = useRef<HTMLDivElement>(null);
  const [drag, setDrag] = useState<{ from: number; to: number }>();
  const [hover, setHover] = useState<number>();
  const max = bars.reduce((most, bar) => Math.max(most, bar.total), 0);
  const length = span.end - span.start;
  const percent = (time: number) => Math.max(0, Math.min(100, ((time - span.start) / length) * 100));

  const timeAt = (event: PointerEvent) => {
    const { left, width } = box.current!.getBoundingClientRect();
    return span.start + Math.max(0, Math.min(1, (event.clientX - left) / width)) * length;
  };
  const begin = (event: PointerEvent) => {
    if (event.button !== 0) return;
    box.current!.setPointerCapture(event.pointerId);
    setDrag({ from: timeAt(event), to: timeAt(event) });
  };
  const move = (event: PointerEvent) => {
    setHover(timeAt(event));
    if (drag) setDrag({ ...drag, to: timeAt(event) });
  };
  const finish = (event: PointerEvent) => {
    if (!drag) return;
    setDrag(undefined);
    const ends = spanOf(drag.from, timeAt(event));
    const pixels = ((ends.end - ends.start) / length) * box.current!.clientWidth;
    if (pixels >= DRAG_MIN && ends.end > ends.start) props.onSelect(ends);
  };
  const keys = (event: KeyboardEvent) => {
    const moved = movedBy(event, selected ?? span, span);
    if (!moved) return;
    event.preventDefault();
    props.onSelect(moved);
  };

  const marked = drag ? spanOf(drag.from, drag.to) : selected;
  const under = hover === undefined ? undefined : bars.find((bar) => bar.time <= hover && hover < bar.time + step);
  return (
    <figure
      className="timeline"
      data-testid={props.testId}
      data-start={span.start}
      data-end={span.end}
      data-total={bars.reduce((sum, bar) => sum + bar.total, 0)}
    >
      <div
        ref={box}
        className="timeline-box"
        role="slider"
        tabIndex={0}
        aria-label={`${props.label}. Drag to select a part; the arrow keys move it, with Shift they change its end.`}
        aria-valuemin={span.start}
        aria-valuemax={span.end}
        aria-valuenow={(marked ?? span).start}
        aria-valuetext={`${formatMoment((marked ?? span).start)} to ${formatMoment((marked ?? span).end)}`}
        onPointerDown={begin}
        onPointerMove={move}
        onPointerUp={finish}
        onPointerCancel={() => setDrag(undefined)}
        onPointerLeave={() => setHover(undefined)}
        onKeyDown={keys}
      >
        <svg viewBox={`0 0 1000 ${HEIGHT}`} preserveAspectRatio="none" height={HEIGHT} width="100%" aria-hidden="true">
          <path d={pathOf(bars, span, step, max)} fill={props.color ?? 'var(--accent)'} />
        </svg>
        {marked && (
          <div className="timeline-selected" style={{ left: `${percent(marked.start)}%`, right: `${100 - percent(marked.end)}%` }} />
        )}
      </div>
      <figcaption>
        <span>{formatMoment(span.start)}</span>
        <span className="timeline-hover">
          {under ? `${formatMoment(under.time)}: ${formatValue(under.total, unit)}` : `${formatValue(max, unit)} at most in ${formatLength(step)}`}
        </span>
        <span>{formatMoment(span.end)}</span>
      </figcaption>
    </figure>
  );
}

const spanOf = (a: number, b: number): Span => ({ start: Math.round(Math.min(a, b)), end: Math.round(Math.max(a, b)) });

function pathOf(bars: readonly Bar[], span: Span, step: number, max: number): string {
  if (max <= 0) return '';
  const scale = 1000 / (span.end - span.start);
  const gap = Math.min(0.15, 0.3 / Math.max(1, step * scale)) * step * scale;
  const parts: string[] = [];
  for (const bar of bars) {
    const from = Math.max(0, (bar.time - span.start) * scale);
    const to = Math.min(1000, (bar.time + step - span.start) * scale) - gap;
    if (bar.total <= 0 || to <= from) continue;
    const height = Math.max(1, (bar.total / max) * (HEIGHT - 4));
    parts.push(`M${from.toFixed(2)} ${HEIGHT}V${(HEIGHT - height).toFixed(2)}H${to.toFixed(2)}V${HEIGHT}Z`);
  }
  return parts.join('');
}

/** A twentieth of what is shown further or back; with Shift only the end moves. */
function movedBy(event: KeyboardEvent, selected: Span, whole: Span): Span | undefined {
  if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return undefined;
  const distance = Math.round((whole.end - whole.start) / 20) * (event.key === 'ArrowLeft' ? -1 : 1);
  const moved = { start: event.shiftKey ? selected.start : selected.start + distance, end: selected.end + distance };
  return moved.end > moved.start ? moved : undefined;
}
