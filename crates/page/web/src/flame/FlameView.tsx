// A flame graph with its table, its search and its exports. What is shown of it is part of the page's state.
import { lazy, Suspense, useMemo, type ReactNode } from 'react';
import type { FlameGraph, FlameGraphDiff } from '../api/types';
import { Notice } from '../parts/answer';
import { usePage } from '../parts/page';
import { unitOf } from '../units';
import { ExportMenu, type Downloads } from './ExportMenu';
import { cutLevels, frameOf, functionsOf, type Frame, type FunctionRow, type Sides } from './frame';
import { FunctionsTable } from './FunctionsTable';
import { invert } from './invert';
import { exactly, matches } from './search';
import { FlameTools } from './FlameTools';
import { Truncated } from './Truncated';
import { useExpanded } from './expand';

const GrafanaFlame = lazy(() => import('./GrafanaFlame'));

/** Nodes of a graph unless more are asked for; the server folds the rest. */
export const NODES_MAX = 8192;
/** Nodes of an inverted graph: each of the other's may stand at several places. */
const INVERTED_NODES_MAX = 32_768;
/** Levels that a canvas has room for, 22 pixels each, at two device pixels a pixel. */
const LEVELS_MAX = 1400;

export interface FlameViewProps {
  graph: FlameGraph | FlameGraphDiff;
  sides: Sides;
  /** The profile type, which tells the unit. */
  type: string;
  /** What exported files are called, without an ending. */
  name: string;
  /** All functions, where the graph has only a part of them. */
  functions?: readonly FunctionRow[] | undefined;
  /** Asks for the graph below a call site, all stacks of which begin with `path`. */
  expand?: ((path: string[], signal: AbortSignal) => Promise<FlameGraph>) | undefined;
  /** Exports that the server makes. */
  downloads?: Downloads | undefined;
  /** Whether search and switches are above it: with several graphs on a page, they stand above all. */
  tools?: boolean;
  /** Stands above it, at the left of the search or in its place. */
  head?: ReactNode;
  /** Stands in place of the table of functions. */
  table?: ReactNode;
}

export function FlameView(props: FlameViewProps) {
  const { sides, type, name } = props;
  const { state, set } = usePage();
  const unit = unitOf(type);
  const whole = useMemo(() => frameOf(props.graph, sides), [props.graph, sides]);
  const { frame, folded, expand, expanding } = useExpanded(whole, sides, NODES_MAX, props.expand);
  const shown = useMemo(() => (state.inverted ? invert(frame, INVERTED_NODES_MAX) : frame), [frame, state.inverted]);
  const drawn = useMemo(() => cutLevels(shown, LEVELS_MAX), [shown]);
  const functions = useFunctions(frame, props.functions);
  const found = useMemo(() => matches(namesOf(frame, functions), state.search), [frame, functions, state.search]);

  const search = (text: string) => set({ search: text === state.search ? '' : text });
  const table = props.table ?? (
    <FunctionsTable functions={functions} total={frame.totals.map((column) => column[0] ?? 0)} unit={unit} found={found} />
  );
  return (
    <div className="flame">
      <div className="bar">
        {props.head}
        {props.tools !== false && <FlameTools sides={sides} />}
        <span className="spring" />
        <ExportMenu frame={frame} shown={shown} name={name} unit={unit} downloads={props.downloads} />
      </div>
      <Truncated frame={frame} folded={folded} expand={expand} expanding={expanding} />
      {drawn !== shown && (
        <Notice testId="cut">Stacks are deeper than {LEVELS_MAX} calls: what is below them is not drawn, and is in the exports.</Notice>
      )}
      <div className="flame-split" data-display={state.display}>
        {state.display !== 'graph' && <div className="flame-table">{table}</div>}
        {state.display !== 'table' && (
          <div className="flame-graph" data-testid="flame-graph" data-nodes={shown.levels.length}>
            <Suspense fallback={<div className="loading" />}>
              <GrafanaFlame
                frame={drawn}
                unit={unit}
                matched={found}
                focus={state.focus}
                onFocus={(focus) => set({ focus })}
                sandwich={frame.labels.includes(state.sandwich) ? state.sandwich : ''}
                onSandwich={(sandwich) => set({ sandwich, focus: [] })}
                onSearch={(label) => search(exactly(label))}
                otherColors={state.colors === 'other'}
                alignRight={state.names === 'end'}
                onExpand={folded.length > 0 && !state.inverted ? expand : undefined}
              />
            </Suspense>
          </div>
        )}
      </div>
    </div>
  );
}

/** Begins to load the drawing. */
export function preload(): void {
  void import('./GrafanaFlame');
}

function useFunctions(frame: Frame, exact: readonly FunctionRow[] | undefined): readonly FunctionRow[] {
  const own = useMemo(() => functionsOf(frame), [frame]);
  return exact ?? own;
}

function namesOf(frame: Frame, functions: readonly FunctionRow[]): Set<string> {
  const names = new Set(frame.labels);
  for (const each of functions) names.add(each.name);
  return names;
}
