// How much of a graph is folded, and a way to have it back.
import { usePage } from '../parts/page';
import { formatShare } from '../units';
import type { Expanding } from './expand';
import { pathOf, type Frame } from './frame';

interface TruncatedProps {
  frame: Frame;
  folded: number[];
  expand?: ((path: string[]) => void) | undefined;
  expanding: Expanding | undefined;
}

export function Truncated({ frame, folded, expand, expanding }: TruncatedProps) {
  const { state, set } = usePage();
  if (folded.length === 0 && !expanding) return null;
  const shares = frame.totals.map((column) => formatShare(sumOf(column, folded), column[0] ?? 0));
  const share = shares.length === 1 ? `${shares[0]} is` : `${shares[0]} of the baseline and ${shares[1]} of the comparison are`;
  const largest = folded[0];
  // Below what the reader looks at, else where most is folded.
  const site = state.focus.length > 0 && !state.inverted ? state.focus : pathOf(frame, largest ?? 0);
  const name = site === state.focus ? `below ${state.focus.at(-1)}` : 'the largest';
  const show = () => set({ focus: pathOf(frame, largest!).slice(0, -1), sandwich: '', inverted: false });
  return (
    <div
      className="notice"
      role="status"
      data-testid="truncated"
      data-value={frame.totals.map((column) => sumOf(column, folded)).join(' ')}
    >
      {folded.length > 0 && (
        <span>
          {share} folded into <code>other</code> below {folded.length} call site{folded.length === 1 ? '' : 's'}.
        </span>
      )}
      {largest !== undefined && expand && expanding?.state !== 'loading' && (
        <>
          <button data-testid="expand" onClick={() => expand(site)}>
            Expand {name}
          </button>
          {state.focus.length === 0 && <button onClick={show}>Show it</button>}
        </>
      )}
      {expanding?.state === 'loading' && (
        <>
          <progress aria-label="Expanding" />
          <button data-testid="cancel-expand" onClick={expanding.cancel}>
            Cancel
          </button>
        </>
      )}
      {expanding?.state === 'failed' && <span role="alert">{expanding.message}</span>}
    </div>
  );
}

const sumOf = (column: readonly number[], rows: readonly number[]) => rows.reduce((sum, row) => sum + column[row]!, 0);
