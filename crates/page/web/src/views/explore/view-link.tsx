// A link to another state of the page, which also works when it is opened in a tab of its own.
import type { ReactNode } from 'react';
import { usePage } from '../../parts/page';
import type { State } from '../../state';

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
