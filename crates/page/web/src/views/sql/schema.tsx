// The tables, their columns and the store's own functions, beside the editor. Choosing a name inserts it.
import { FUNCTIONS, type Table } from './catalog';

export function Schema({ tables, onInsert }: { tables: readonly Table[]; onInsert(text: string): void }) {
  return (
    <aside className="sql-schema" aria-label="Tables and functions" data-testid="sql-schema" tabIndex={0}>
      {tables.map(({ name, columns }) => (
        <details key={name}>
          <summary>{name}</summary>
          <ul>
            {columns.map((column) => (
              <li key={column.name}>
                <button className="plain" onClick={() => onInsert(column.name)}>
                  {column.name}
                </button>
                <span className="hint">{column.type}</span>
              </li>
            ))}
          </ul>
        </details>
      ))}
      <details>
        <summary>functions</summary>
        <ul>
          {FUNCTIONS.map(({ name, usage, about }) => (
            <li key={name}>
              <button className="plain" title={about} onClick={() => onInsert(usage)}>
                {usage}
              </button>
              <span className="hint">{about}</span>
            </li>
          ))}
        </ul>
      </details>
    </aside>
  );
}
