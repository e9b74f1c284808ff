// Statements to begin with. Choosing one writes it into the editor; it runs when the reader says so.
import { useMemo } from 'react';
import { useDefaultQuery } from '../../parts/default-query';
import { usePage } from '../../parts/page';
import { parseSelector } from '../../selector';
import { parseMoment } from '../../time';
import { examplesOf } from './examples';

export function ExampleMenu({ onChoose }: { onChoose(statement: string): void }) {
  const { state, span, now } = usePage();
  const query = useDefaultQuery();
  const examples = useMemo(() => {
    const middle = new Date((span.start + span.end) / 2).toISOString();
    const profileType = parseSelector(query)?.type ?? '';
    return examplesOf({ profileType, selector: query, from: timeText(state.from, now), to: timeText(state.to, now), middle });
  }, [query, state.from, state.to, span, now]);
  return (
    <label>
      Examples
      <select
        data-testid="sql-examples"
        value=""
        disabled={query === ''}
        onChange={(event) => onChoose(examples[Number(event.target.value)]?.statement ?? '')}
      >
        <option value="" disabled>
          {query === '' ? 'no profiles yet' : 'choose one'}
        </option>
        {examples.map(({ title }, at) => (
          <option key={title} value={at}>
            {title}
          </option>
        ))}
      </select>
    </label>
  );
}

/** An end of the range as SQL takes it: relative to now, or RFC 3339. */
function timeText(text: string, now: number): string {
  if (/^now(-\d+[smhdwy])?$/.test(text)) return text;
  return new Date(parseMoment(text, now) ?? now).toISOString();
}
