// A choice of one of a few, as buttons side by side.

interface ChoiceProps<T extends string> {
  label: string;
  value: T;
  options: ReadonlyArray<readonly [T, string]>;
  onChange(value: T): void;
}

export function Choice<T extends string>({ label, value, options, onChange }: ChoiceProps<T>) {
  return (
    <span className="group" role="group" aria-label={label}>
      {options.map(([option, name]) => (
        <button key={option} aria-pressed={option === value} onClick={() => onChange(option)}>
          {name}
        </button>
      ))}
    </span>
  );
}
