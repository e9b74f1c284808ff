// The name of a function in a table: searched for by a click, with its sandwich and a copy of its name beside it.
import type { ReactNode } from 'react';
import { CopyIcon, SandwichIcon } from '../parts/icons';
import { copyText } from '../parts/copy';
import { usePage } from '../parts/page';
import { exactly } from './search';

export function FunctionCell({ name, children }: { name: string; children?: ReactNode }) {
  const { state, set } = usePage();
  const search = exactly(name);
  const sandwiched = state.sandwich === name;
  return (
    <td className="name">
      <div className="cell">
        <span>
          <button
            className="plain function"
            aria-pressed={state.search === search}
            title="Highlight in the graph"
            onClick={() => set({ search: state.search === search ? '' : search })}
          >
            {name}
          </button>{' '}
          {children}
        </span>
        <span className="actions">
          <button
            className="plain"
            aria-pressed={sandwiched}
            aria-label={`Callers and callees of ${name}`}
            title="Callers and callees (sandwich)"
            onClick={() => set({ sandwich: sandwiched ? '' : name, focus: [] })}
          >
            <SandwichIcon />
          </button>
          <button className="plain" aria-label={`Copy ${name}`} title="Copy the name" onClick={() => void copyText(name)}>
            <CopyIcon />
          </button>
        </span>
      </div>
    </td>
  );
}
