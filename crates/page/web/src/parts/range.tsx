// The choice of a range: one of those that end now, or two moments.
import { useEffect, useRef, useState, type FormEvent } from 'react';
import { RELATIVE_RANGES, describe, formatMoment, resolve, type Range } from '../time';

interface RangePickerProps {
  range: Range;
  now: number;
  label?: string;
  testId?: string;
  onChange(range: Range): void;
}

export function RangePicker({ range, now, label = 'Time range', testId = 'range', onChange }: RangePickerProps) {
  const [open, setOpen] = useState(false);
  const around = useRef<HTMLSpanElement>(null);
  useClosing(open, around, () => setOpen(false));
  const choose = (chosen: Range) => {
    setOpen(false);
    onChange(chosen);
  };
  return (
    <span className="picker" ref={around}>
      <button
        data-testid={testId}
        data-from={range.from}
        data-to={range.to}
        aria-expanded={open}
        aria-label={`${label}: ${describe(range, now)}`}
        onClick={() => setOpen(!open)}
      >
        {describe(range, now)} <span aria-hidden="true">▾</span>
      </button>
      {open && (
        <div className="popover" role="dialog" aria-label={label}>
          <Ends range={range} now={now} choose={choose} />
          <div className="ranges">
            {RELATIVE_RANGES.map(({ from, label: name }) => (
              <button
                key={from}
                className="plain"
                aria-pressed={range.to === 'now' && range.from === from}
                onClick={() => choose({ from, to: 'now' })}
              >
                {name}
              </button>
            ))}
          </div>
        </div>
      )}
    </span>
  );
}

function Ends({ range, now, choose }: { range: Range; now: number; choose(range: Range): void }) {
  const [from, setFrom] = useState(() => readable(range.from));
  const [to, setTo] = useState(() => readable(range.to));
  const wrong = resolve({ from, to }, now) === undefined;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!wrong) choose({ from: kept(from), to: kept(to) });
  };
  return (
    <form className="ends" onSubmit={submit}>
      <label>
        From
        <input value={from} aria-invalid={wrong} data-testid="range-from" onChange={(event) => setFrom(event.target.value)} />
      </label>
      <label>
        To
        <input value={to} aria-invalid={wrong} data-testid="range-to" onChange={(event) => setTo(event.target.value)} />
      </label>
      <button type="submit" disabled={wrong}>
        Apply
      </button>
      <span className="hint">{wrong ? 'From must be before to.' : 'now-3h, 2026-05-01 12:00:00, or a Unix time'}</span>
    </form>
  );
}

/** An absolute moment as people read it; a relative one as it is. */
function readable(moment: string): string {
  return /^\d{11,13}$/.test(moment) ? formatMoment(Number(moment)) : moment;
}

/** Dates are of the reader's zone, links are of none. */
function kept(moment: string): string {
  return moment.trim().startsWith('now') ? moment.trim() : String(resolve({ from: moment, to: 'now+100y' }, Date.now())?.start ?? moment);
}

/** Closes what is open when the reader turns to something else. */
export function useClosing(open: boolean, around: { current: HTMLElement | null }, close: () => void): void {
  const closeRef = useRef(close);
  closeRef.current = close;
  useEffect(() => {
    if (!open) return;
    const pressed = (event: KeyboardEvent) => event.key === 'Escape' && closeRef.current();
    const clicked = (event: PointerEvent) => {
      if (!around.current?.contains(event.target as Node)) closeRef.current();
    };
    document.addEventListener('keydown', pressed);
    document.addEventListener('pointerdown', clicked);
    return () => {
      document.removeEventListener('keydown', pressed);
      document.removeEventListener('pointerdown', clicked);
    };
  }, [open, around]);
}
