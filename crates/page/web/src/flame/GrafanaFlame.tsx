// The flame graph itself: Grafana's drawing of frames, menus, tooltips and sandwiches, steered by the page's state, with a
// cursor for the keyboard laid over it. Loaded late, since Grafana's packages are most of what the page weighs.
import { createTheme, FieldType, ThemeContext, toDataFrame, type DataFrame } from '@grafana/data';
import FlameGraph from '#flamegraph/FlameGraph/FlameGraph';
import { FlameGraphDataContainer, type CollapsedMap, type LevelItem } from '#flamegraph/FlameGraph/dataTransform';
import type { ClickedItemData, ColorScheme, ColorSchemeDiff, SelectedView } from '#flamegraph/types';
import { useEffect, useMemo, useRef, useState } from 'react';
import { useTheme } from '../parts/theme';
import { Cursor } from './Cursor';
import { sidesOf, type Frame } from './frame';
import { itemAt, pathTo } from './items';

declare global {
  interface Window {
    __grafana_public_path__?: string;
  }
}

// Icons come from beside the page, below whatever prefix it has.
window.__grafana_public_path__ = new URL('./', document.baseURI).href;

export interface FlameProps {
  frame: Frame;
  unit: string;
  matched: Set<string> | undefined;
  focus: string[];
  onFocus(path: string[]): void;
  sandwich: string;
  onSandwich(name: string): void;
  onSearch(name: string): void;
  /** The other of the two colourings: by value, or for the colour-blind. */
  otherColors: boolean;
  alignRight: boolean;
  /** Where something is folded: asks for what is below a call site. */
  onExpand?: ((path: string[]) => void) | undefined;
}

const UNITS: Record<string, string> = {
  nanoseconds: 'ns',
  microseconds: 'µs',
  milliseconds: 'ms',
  seconds: 's',
  bytes: 'bytes',
};

function dataFrameOf(frame: Frame, unit: string): DataFrame {
  const config = { unit: UNITS[unit] ?? 'short' };
  const numbers = (name: string, values: number[]) => ({ name, type: FieldType.number, config, values });
  const fields = [
    { name: 'level', type: FieldType.number, config: {}, values: frame.levels },
    { name: 'label', type: FieldType.string, config: {}, values: frame.labels },
    numbers('value', frame.totals[0]!),
    numbers('self', frame.selves[0]!),
  ];
  if (sidesOf(frame) === 2) fields.push(numbers('valueRight', frame.totals[1]!), numbers('selfRight', frame.selves[1]!));
  return toDataFrame({ name: 'flame graph', fields });
}

function colorsOf(sides: 1 | 2, other: boolean): ColorScheme | ColorSchemeDiff {
  if (sides === 2) return (other ? 'diffColorBlind' : 'default') as ColorSchemeDiff;
  return (other ? 'valueBased' : 'packageBased') as ColorScheme;
}

export default function GrafanaFlame(props: FlameProps) {
  const { frame, unit, sandwich, onFocus, onSandwich, onExpand } = props;
  const { theme: mode } = useTheme();
  const theme = useMemo(() => createTheme({ colors: { mode } }), [mode]);
  const container = useMemo(
    () => new FlameGraphDataContainer(dataFrameOf(frame, unit), { collapsing: true }, theme),
    [frame, unit, theme]
  );
  const [collapsed, setCollapsed] = useCollapsed(container);
  const [inSandwich, setInSandwich] = useState<{ of: string; clicked: ClickedItemData }>();

  const root = container.getLevels()[0]![0]!;
  const focused = useMemo(() => itemAt(container, root, props.focus), [container, root, props.focus]);
  // A call site of a sandwich is none of the graph: its focus ends with it.
  const clickedThere = sandwich !== '' && inSandwich?.of === sandwich ? inSandwich.clicked : undefined;
  const clicked = sandwich === '' ? clickedOf(container, focused) : clickedThere;
  const range = sandwich === '' ? rangeOf(focused ?? root, root.value) : rangeOf(clicked?.item, sandwichTotal(container, sandwich));

  const focusOn = (there: ClickedItemData) => {
    if (sandwich === '') onFocus(pathTo(container, there.item));
    else setInSandwich({ of: sandwich, clicked: there });
  };
  const resetFocus = () => (sandwich === '' ? onFocus([]) : setInSandwich(undefined));

  const extraButtons = ({ label, item }: ClickedItemData) => [
    { label: 'Search for it', icon: 'search' as const, onClick: () => props.onSearch(label) },
    ...(onExpand && sandwich === ''
      ? [{ label: 'Expand in place', icon: 'plus-circle' as const, onClick: () => onExpand(pathTo(container, item)) }]
      : []),
  ];

  const around = useRef<HTMLDivElement>(null);
  useEffect(() => (sandwich === '' ? undefined : showMiddle(around.current)), [sandwich]);

  const cursor = { container, root, collapsed, range, focus: onFocus, sandwich: onSandwich, expand: onExpand };
  const graph = (
    <FlameGraph
      data={container}
      rangeMin={range.min}
      rangeMax={range.max}
      setRangeMin={ignore}
      setRangeMax={ignore}
      {...(props.matched ? { matchedLabels: props.matched } : {})}
      {...(clicked ? { focusedItemData: clicked } : {})}
      {...(sandwich === '' ? {} : { sandwichItem: sandwich })}
      onItemFocused={focusOn}
      onFocusPillClick={resetFocus}
      onSandwich={onSandwich}
      onSandwichPillClick={() => onSandwich('')}
      textAlign={props.alignRight ? 'right' : 'left'}
      colorScheme={colorsOf(sidesOf(frame), props.otherColors)}
      collapsing={sandwich === ''}
      collapsedMap={collapsed}
      setCollapsedMap={setCollapsed}
      getExtraContextMenuButtons={extraButtons}
      selectedView={'both' as SelectedView}
      search=""
    />
  );
  return (
    <ThemeContext.Provider value={theme}>
      {sandwich === '' ? <Cursor {...cursor}>{graph}</Cursor> : <div ref={around}>{graph}</div>}
    </ThemeContext.Provider>
  );
}

// The range follows from what is focused.
const ignore = () => {};

/** Which groups of similar call sites are drawn as one: none, until the reader says so. */
function useCollapsed(container: FlameGraphDataContainer): [CollapsedMap, (map: CollapsedMap) => void] {
  const open = useMemo(() => container.getCollapsedMap().setAllCollapsedStatus(false), [container]);
  const [kept, setKept] = useState({ container, map: open });
  const map = kept.container === container ? kept.map : open;
  return [map, (changed) => setKept({ container, map: changed })];
}

function clickedOf(container: FlameGraphDataContainer, item: LevelItem | undefined): ClickedItemData | undefined {
  if (!item || item.level === 0) return undefined;
  return { item, label: container.getLabel(item.itemIndexes[0]!), posX: 0, posY: 0 };
}

/** Callers of deep stacks fill more than a screen: what is between them and the callees is brought into view once it is drawn. */
function showMiddle(around: HTMLElement | null): () => void {
  const timer = setTimeout(() => {
    const callees = around?.querySelectorAll('canvas')[1];
    if (callees && callees.getBoundingClientRect().top > innerHeight * 0.8) {
      scrollBy({ top: callees.getBoundingClientRect().top - innerHeight / 2 });
    }
  }, 100);
  return () => clearTimeout(timer);
}

function sandwichTotal(container: FlameGraphDataContainer, name: string): number {
  const nodes = container.getNodesWithLabel(name) ?? [];
  return nodes.reduce((sum, node) => sum + node.value, 0);
}

export interface DrawnRange {
  min: number;
  max: number;
}

function rangeOf(item: LevelItem | undefined, total: number): DrawnRange {
  if (!item || total === 0) return { min: 0, max: 1 };
  return { min: item.start / total, max: (item.start + item.value) / total };
}
