// The state of the page, which is its URL, and the moment that relative ranges end at.
import { createContext, useCallback, useContext, useEffect, useMemo, useState, type ReactNode } from 'react';
import { parseState, printState, type State } from '../state';
import { resolve, type Span } from '../time';

export interface Page {
  state: State;
  /** The moment that `now` stands for, until the page is refreshed. */
  now: number;
  /** The span of the state's range. */
  span: Span;
  /** Changes the state and the URL; with `replace`, without a step for the browser's back button. */
  set(change: Partial<State>, how?: { replace?: boolean }): void;
  /** The link to the state with a change. */
  href(change: Partial<State>): string;
  /** Asks again, up to this moment. */
  refresh(): void;
}

const PageContext = createContext<Page | undefined>(undefined);

export function usePage(): Page {
  const page = useContext(PageContext);
  if (!page) throw new Error('there is no page around this part');
  return page;
}

export function PageProvider({ children }: { children: ReactNode }) {
  const [state, setState] = useState(() => parseState(location.search));
  const [now, setNow] = useState(() => Date.now());

  useEffect(() => {
    const changed = () => setState(parseState(location.search));
    window.addEventListener('popstate', changed);
    return () => window.removeEventListener('popstate', changed);
  }, []);

  const set = useCallback<Page['set']>((change, how) => {
    // The URL is the state, so changes of one moment add up.
    const next = { ...parseState(location.search), ...change };
    const url = printState(next);
    if (url !== location.search) history[how?.replace ? 'replaceState' : 'pushState'](null, '', url);
    setState(next);
  }, []);

  const page = useMemo<Page>(() => {
    const hour = { start: now - 3_600_000, end: now };
    return {
      state,
      now,
      span: resolve(state, now) ?? hour,
      set,
      href: (change) => printState({ ...state, ...change }),
      refresh: () => setNow(Date.now()),
    };
  }, [state, now, set]);
  return <PageContext.Provider value={page}>{children}</PageContext.Provider>;
}
