// A link to another state of the page, which also works when it is opened in a tab of its own.
import type { ReactNode } from 'react';
import { usePage } from '../../parts/page';
import type { State } from '../../state';

/** The single view of a query, with something searched for. */
export function singleView(query = '', search = ''): Partial<State> {
  return { view: 'single', query, search, focus: [], sandwich: '', extra: {} };
}

export function ViewLink({ change, children }: { change: Partial<State>; children: ReactNode }) {
  const { set, href } = usePage();
  return (
    <a
      href={href(change)}
      onClick={(event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
        event.preventDefault();
        set(change);
      }}
    >
      {children}
    </a>
  );
}
