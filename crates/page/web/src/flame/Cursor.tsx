// A cursor for the keyboard over the drawn graph: the arrow keys move it from call site to call site, keys act on it.
import type { CollapsedMap, FlameGraphDataContainer, LevelItem } from '#flamegraph/FlameGraph/dataTransform';
import { useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent, type ReactNode } from 'react';
import { copyText } from '../parts/copy';
import type { DrawnRange } from './GrafanaFlame';
import { pathTo } from './items';

interface CursorProps {
  container: FlameGraphDataContainer;
  root: LevelItem;
  collapsed: CollapsedMap;
  range: DrawnRange;
  focus(path: string[]): void;
  sandwich(name: string): void;
  expand?: ((path: string[]) => void) | undefined;
  children: ReactNode;
}

const LEVEL_HEIGHT = 22;
const KEYS =
  'Flame graph. Arrow keys move from call site to call site, Enter fills the width with one, Escape shows all again, ' +
  'S shows its callers and callees, C copies its name, E expands what is folded below it.';

export function Cursor(props: CursorProps) {
  const { container, root, collapsed, range } = props;
  const frame = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState<LevelItem>();
  const [held, setHeld] = useState(false);
  const [said, setSaid] = useState('');
  const [place, setPlace] = useState<{ left: number; top: number; width: number }>();

  useEffect(() => setAt(undefined), [container]);
  useLayoutEffect(() => {
    const canvas = frame.current?.querySelector<HTMLCanvasElement>('canvas[data-testid="flameGraph"]');
    setPlace(at && canvas && frame.current ? placeOf(at, root, collapsed, range, canvas, frame.current) : undefined);
  }, [at, root, collapsed, range.min, range.max]);

  const move = (to: LevelItem | undefined) => {
    if (!to) return;
    setAt(to);
    setSaid(describe(container, root, to));
  };
  const act = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const item = at ?? root;
    const name = container.getLabel(item.itemIndexes[0]!);
    const actions: Record<string, () => void> = {
      ArrowDown: () => move(at ? widest(item.children) : root),
      ArrowUp: () => move(item.parents?.[0]),
      ArrowLeft: () => move(beside(container, item, range, root, -1)),
      ArrowRight: () => move(beside(container, item, range, root, 1)),
      Home: () => move(root),
      Enter: () => props.focus(pathTo(container, item)),
      Escape: () => props.focus([]),
      s: () => item.level > 0 && props.sandwich(name),
      c: () => void copyText(name).then((done) => setSaid(done ? `copied ${name}` : 'not copied')),
      e: () => props.expand?.(pathTo(container, item)),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    setHeld(true);
    action();
  };
  return (
    <div
      ref={frame}
      className="flame-keys"
      tabIndex={0}
      role="application"
      aria-label={KEYS}
      data-testid="flame-keys"
      onKeyDown={act}
      onFocus={(event) => setHeld(event.target.matches(':focus-visible'))}
      onBlur={() => setHeld(false)}
    >
      {props.children}
      {held && place && <div className="flame-cursor" style={{ ...place, height: LEVEL_HEIGHT }} />}
      {held && (
        <div className="flame-said" aria-live="polite" data-testid="flame-said">
          {said || 'Arrow keys move, Enter focuses, S sandwiches, C copies, Escape resets.'}
        </div>
      )}
    </div>
  );
}

function widest(items: readonly LevelItem[]): LevelItem | undefined {
  return items.reduce<LevelItem | undefined>((best, each) => (best && best.value >= each.value ? best : each), undefined);
}

/** The next call site of the same level that is drawn. */
function beside(
  container: FlameGraphDataContainer,
  item: LevelItem,
  range: DrawnRange,
  root: LevelItem,
  step: 1 | -1
): LevelItem | undefined {
  const level = container.getLevels()[item.level] ?? [];
  const drawn = ((range.max - range.min) * root.value) / 2000;
  for (let at = level.indexOf(item) + step; at >= 0 && at < level.length; at += step) {
    const next = level[at]!;
    const inside = next.start < range.max * root.value && next.start + next.value > range.min * root.value;
    if (next.value >= drawn && inside) return next;
  }
  return undefined;
}

function placeOf(
  item: LevelItem,
  root: LevelItem,
  collapsed: CollapsedMap,
  range: DrawnRange,
  canvas: HTMLCanvasElement,
  frame: HTMLElement
) {
  const scale = canvas.clientWidth / (root.value * (range.max - range.min));
  const from = Math.max(0, (item.start - root.value * range.min) * scale);
  const to = Math.min(canvas.clientWidth, (item.start + item.value - root.value * range.min) * scale);
  const [inner, outer] = [canvas.getBoundingClientRect(), frame.getBoundingClientRect()];
  const level = item.level - hiddenAbove(item, collapsed);
  return {
    left: inner.left - outer.left + from,
    top: inner.top - outer.top + level * LEVEL_HEIGHT,
    width: Math.max(2, to - from),
  };
}

/** How many levels collapsed groups take away, down to a call site. */
function hiddenAbove(item: LevelItem, collapsed: CollapsedMap): number {
  let hidden = 0;
  for (let at: LevelItem | undefined = item; at; at = at.parents?.[0]) {
    const group = collapsed.get(at);
    if (group?.collapsed && group.items[0] !== at) hidden++;
  }
  return hidden;
}

function describe(container: FlameGraphDataContainer, root: LevelItem, item: LevelItem): string {
  const value = container.valueDisplayProcessor(item.value);
  const share = root.value === 0 ? 0 : (item.value / root.value) * 100;
  return `${container.getLabel(item.itemIndexes[0]!)}: ${value.text}${value.suffix ?? ''}, ${share.toFixed(2)} %`;
}
