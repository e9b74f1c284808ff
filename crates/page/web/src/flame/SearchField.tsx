// The search for functions, which table and graph follow.
import { useEffect, useRef, useState } from 'react';
import { usePage } from '../parts/page';

export function SearchField() {
  const { state, set } = usePage();
  const [text, setText] = useState(state.search);
  const timer = useRef<ReturnType<typeof setTimeout>>();

  useEffect(() => setText(state.search), [state.search]);
  useEffect(() => () => clearTimeout(timer.current), []);

  const type = (typed: string) => {
    setText(typed);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => set({ search: typed }, { replace: true }), 150);
  };
  return (
    <input
      type="search"
      className="search"
      data-testid="search"
      aria-label="Search functions: text or a regular expression"
      placeholder="Search functions (text or regex)"
      value={text}
      onChange={(event) => type(event.target.value)}
    />
  );
}
