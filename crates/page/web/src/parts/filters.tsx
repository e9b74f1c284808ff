// Matchers of labels: those there are, and one more with completion of names and values.
import { useId, useState, type FormEvent } from 'react';
import { labelNames, labelValues } from '../api/ask';
import { OPERATORS, printMatcher, printSelector, type Matcher, type Operator, type Selector } from '../selector';
import type { Span } from '../time';
import { useAnswer } from './answer';
import { CloseIcon } from './icons';

interface FiltersProps {
  selector: Selector;
  span: Span;
  onChange(selector: Selector): void;
}

export function Filters({ selector, span, onChange }: FiltersProps) {
  const shown = selector.matchers.filter((each) => each.name !== 'service_name' || each.operator !== '=');
  const without = (matcher: Matcher) => onChange({ ...selector, matchers: selector.matchers.filter((each) => each !== matcher) });
  return (
    <span className="filters">
      {shown.map((matcher) => (
        <span className="chip" key={printMatcher(matcher)}>
          {printMatcher(matcher)}
          <button className="plain" aria-label={`Remove ${printMatcher(matcher)}`} onClick={() => without(matcher)}>
            <CloseIcon />
          </button>
        </span>
      ))}
      <NewFilter
        selector={selector}
        span={span}
        onAdd={(matcher) => onChange({ ...selector, matchers: [...selector.matchers, matcher] })}
      />
    </span>
  );
}

function NewFilter({ selector, span, onAdd }: { selector: Selector; span: Span; onAdd(matcher: Matcher): void }) {
  const [open, setOpen] = useState(false);
  const [name, setName] = useState('');
  const [operator, setOperator] = useState<Operator>('=');
  const [value, setValue] = useState('');
  const id = useId();
  const query = printSelector(selector);
  const names = useCompletion(open ? `names ${query}` : '', (signal) => labelNames({ query, span }, signal));
  const known = names.includes(name);
  const values = useCompletion(open && known ? `values ${name} ${query}` : '', (signal) => labelValues({ query, span }, name, signal));

  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (name.trim() === '') return;
    onAdd({ name: name.trim(), operator, value });
    setName('');
    setValue('');
  };
  return (
    <form className="filter" onSubmit={submit} onFocus={() => setOpen(true)}>
      <input
        data-testid="filter"
        aria-label="Label to filter by"
        placeholder="Filter: label"
        list={`${id}-names`}
        value={name}
        autoComplete="off"
        onChange={(event) => setName(event.target.value)}
      />
      {name !== '' && (
        <>
          <select
            aria-label="How the label is compared"
            value={operator}
            onChange={(event) => setOperator(event.target.value as Operator)}
          >
            {OPERATORS.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
          <input
            data-testid="filter-value"
            aria-label="Value of the label"
            placeholder={operator.endsWith('~') ? 'regular expression' : 'value'}
            list={`${id}-values`}
            value={value}
            autoComplete="off"
            onChange={(event) => setValue(event.target.value)}
          />
          <button type="submit">Add</button>
        </>
      )}
      <datalist id={`${id}-names`}>
        {names.map((each) => (
          <option key={each} value={each} />
        ))}
      </datalist>
      <datalist id={`${id}-values`}>
        {values.map((each) => (
          <option key={each} value={each} />
        ))}
      </datalist>
    </form>
  );
}

/** What is offered for completion; nothing while it is asked for, and where it cannot be had. */
function useCompletion(key: string, ask: (signal: AbortSignal) => Promise<string[]>): string[] {
  const { answer } = useAnswer(key, ask);
  if (key === '') return [];
  return answer.state === 'ready' ? answer.value : (answer.previous ?? []);
}
