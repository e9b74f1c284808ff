// What holds for every flame graph of a page: the search, what is shown, and how.
import { Choice } from '../parts/choice';
import { usePage } from '../parts/page';
import { SearchField } from './SearchField';
import type { Sides } from './frame';

export function FlameTools({ sides }: { sides: Sides }) {
  const { state, set } = usePage();
  const other = state.colors === 'other';
  const ends = state.names === 'end';
  return (
    <>
      <SearchField />
      <Choice
        label="What to show"
        value={state.display}
        options={[
          ['table', 'Table'],
          ['both', 'Both'],
          ['graph', 'Graph'],
        ]}
        onChange={(display) => set({ display }, { replace: true })}
      />
      <button
        data-testid="inverted"
        aria-pressed={state.inverted}
        title="Functions by their own values, their callers below"
        onClick={() => set({ inverted: !state.inverted, focus: [] })}
      >
        Inverted
      </button>
      <button aria-pressed={other} onClick={() => set({ colors: other ? 'usual' : 'other' }, { replace: true })}>
        {sides === 2 ? 'Blue and red' : 'Colour by value'}
      </button>
      <button
        aria-pressed={ends}
        title="Show the ends of names that do not fit"
        onClick={() => set({ names: ends ? 'begin' : 'end' }, { replace: true })}
      >
        Name ends
      </button>
      {(state.focus.length > 0 || state.sandwich !== '') && (
        <button data-testid="reset" onClick={() => set({ focus: [], sandwich: '' })}>
          Reset
        </button>
      )}
    </>
  );
}
