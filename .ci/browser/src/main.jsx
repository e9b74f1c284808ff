// A page that draws one flame graph with Grafana's component. The check calls `show` and reads what is drawn.
import { createTheme, FieldType, ThemeContext, toDataFrame } from '@grafana/data';
import { FlameGraph } from '@grafana/flamegraph';
import { GlobalStyles } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { rowsOf } from './frame.js';

const theme = createTheme({ colors: { mode: 'light' } });
const root = createRoot(document.getElementById('root'));

function frameOf(graph, sides) {
  const rows = rowsOf(graph, sides);
  const numbers = (name, of) => ({ name, type: FieldType.number, config: { unit: 'short' }, values: rows.map(of) });
  const fields = [
    { name: 'level', type: FieldType.number, values: rows.map((row) => row.level) },
    { name: 'label', type: FieldType.string, values: rows.map((row) => row.label) },
    numbers('value', (row) => row.totals[0]),
    numbers('self', (row) => row.selves[0]),
  ];
  if (sides === 2) {
    fields.push(numbers('valueRight', (row) => row.totals[1]), numbers('selfRight', (row) => row.selves[1]));
  }
  return toDataFrame({ name: 'flame graph', meta: { custom: { ProfileTypeID: 'process_cpu:samples:count::' } }, fields });
}

let shown = 0;
window.show = (graph, sides) => {
  const frame = frameOf(graph, sides);
  root.render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div id="graph" style={{ width: 1600 }} key={shown++}>
        <FlameGraph data={frame} getTheme={() => theme} vertical disableCollapsing enableNewUI={false} />
      </div>
    </ThemeContext.Provider>
  );
};
