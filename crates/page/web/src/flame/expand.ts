// Expanding in place: what was folded below a call site is asked for and put there.
import { useCallback, useEffect, useRef, useState } from 'react';
import type { FlameGraph } from '../api/types';
import { FOLDED, foldedRows, frameOf, replaceBelow, rowAt, type Frame, type Sides } from './frame';

export interface Expanding {
  path: string[];
  state: 'loading' | 'failed';
  message: string;
  cancel(): void;
}

interface Expanded {
  of: Frame;
  frame: Frame;
}

export function useExpanded(
  whole: Frame,
  sides: Sides,
  nodesMax: number,
  ask: ((path: string[], signal: AbortSignal) => Promise<FlameGraph>) | undefined
) {
  const [kept, setKept] = useState<Expanded>();
  const [expanding, setExpanding] = useState<Expanding>();
  const running = useRef<AbortController>();
  const frame = kept?.of === whole ? kept.frame : whole;
  const latest = useRef(frame);
  latest.current = frame;
  useEffect(() => () => running.current?.abort(), [whole]);

  const expand = useCallback(
    (path: string[]) => {
      if (!ask) return;
      running.current?.abort();
      const controller = new AbortController();
      running.current = controller;
      const site = path.at(-1) === FOLDED ? path.slice(0, -1) : path;
      setExpanding({ path: site, state: 'loading', message: '', cancel: () => controller.abort() });
      ask(site, controller.signal).then(
        (graph) => {
          const below = frameOf(graph, sides);
          if (rowAt(below, site) === undefined) throw new Error('the call site is not in the answer');
          setKept({ of: whole, frame: replaceBelow(latest.current, site, below) });
          setExpanding(undefined);
        }
      ).catch((error: unknown) => {
        if (controller.signal.aborted) setExpanding(undefined);
        else setExpanding({ path: site, state: 'failed', message: messageOf(error), cancel: () => setExpanding(undefined) });
      });
    },
    [ask, sides, whole]
  );
  // A graph that was whole at first had nothing folded; one that was not may have something left.
  const folded = whole.levels.length < nodesMax ? [] : foldedRows(frame, 0);
  return { frame, folded, expand: ask ? expand : undefined, expanding };
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
