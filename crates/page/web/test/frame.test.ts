import { describe, expect, it } from 'vitest';
import { cutLevels, endOf, foldedRows, frameOf, functionsOf, pathOf, replaceBelow, rowAt } from '../src/flame/frame';
import { again, asGraph, fromFolded, printed } from './folded';

const FRAME = fromFolded(`
  main;read 3
  main;write;flush 2
  main;write 1
  other;read 4`);

describe('frames', () => {
  it('are read from levels of nodes', () => {
    const graph = {
      names: ['total', 'a', 'b', 'c'],
      levels: [{ values: ['0', '10', '0', '0'] }, { values: ['0', '4', '1', '1', '2', '4', '4', '2'] }, { values: ['1', '3', '3', '3'] }],
    };
    expect(printed(frameOf(graph, 1))).toBe('total 10/0\n  a 4/1\n    c 3/3\n  b 4/4');
  });

  it('are read from levels of two sides', () => {
    const graph = {
      names: ['total', 'a', 'b'],
      levels: [
        { values: ['0', '5', '0', '0', '7', '0', '0'] },
        { values: ['0', '5', '5', '0', '3', '3', '1', '0', '0', '0', '0', '4', '4', '2'] },
      ],
    };
    expect(printed(frameOf(graph, 2))).toBe('total 5/0 7/0\n  a 5/5 3/3\n  b 0/0 4/4');
  });

  it('are read again as they were', () => {
    expect(printed(again(FRAME))).toBe(printed(FRAME));
    const two = fromFolded('a;b 1 0\na;c 0 2\nd 3 3', 2);
    expect(printed(again(two))).toBe(printed(two));
  });

  it('may be empty, and deeper than the stack of the browser', () => {
    expect(printed(frameOf({}, 1))).toBe('');
    const deep = fromFoldedChain(30_000);
    expect(again(deep).levels.at(-1)).toBe(30_000);
  });

  it('are refused where a node lies outside of its parent', () => {
    const graph = { names: ['total', 'a'], levels: [{ values: ['0', '1', '0', '0'] }, { values: ['0', '2', '2', '1'] }] };
    expect(() => frameOf(graph, 1)).toThrow('outside of its parent');
  });

  it('have paths to their rows', () => {
    expect(pathOf(FRAME, 0)).toEqual([]);
    FRAME.labels.forEach((_, row) => expect(rowAt(FRAME, pathOf(FRAME, row))).toBe(row));
    expect(rowAt(FRAME, ['main', 'flush'])).toBeUndefined();
    expect(endOf(FRAME, 0)).toBe(FRAME.labels.length);
    expect(endOf(FRAME, rowAt(FRAME, ['main'])!)).toBe(rowAt(FRAME, ['other'])!);
  });
});

function fromFoldedChain(depth: number) {
  const levels = Array.from({ length: depth + 1 }, (_, level) => level);
  return { levels, labels: levels.map(String), totals: [levels.map(() => 1)], selves: [levels.map((level) => (level === depth ? 1 : 0))] };
}

describe('functions of a frame', () => {
  it('spend what their call sites spend', () => {
    expect(functionsOf(FRAME)).toEqual([
      { name: 'main', self: [0], total: [6] },
      { name: 'read', self: [7], total: [7] },
      { name: 'write', self: [1], total: [3] },
      { name: 'flush', self: [2], total: [2] },
      { name: 'other', self: [0], total: [4] },
    ]);
  });

  it('count once where they call themselves', () => {
    const frame = fromFolded('f;g;f 2\nf 1\ng;f 5');
    expect(functionsOf(frame)).toEqual([
      { name: 'f', self: [8], total: [8] },
      { name: 'g', self: [0], total: [7] },
    ]);
  });

  it('are of either side', () => {
    expect(functionsOf(fromFolded('a;b 1 0\na 0 2', 2))).toEqual([
      { name: 'a', self: [0, 2], total: [1, 2] },
      { name: 'b', self: [1, 0], total: [1, 0] },
    ]);
  });
});

describe('what is folded', () => {
  const truncated = fromFolded('a;other 2\na;b;other 5\na;b;c 1\nother;x 9');

  it('are leaves called other, the largest first', () => {
    expect(foldedRows(truncated, 0).map((row) => pathOf(truncated, row))).toEqual([
      ['a', 'b', 'other'],
      ['a', 'other'],
    ]);
  });

  it('is nothing in a graph that has room left', () => {
    expect(foldedRows(truncated, 100)).toEqual([]);
  });

  it('is put in the place of other', () => {
    const below = fromFolded('a;b;d 3\na;b;e;f 2\na;b;c 1');
    expect(printed(replaceBelow(truncated, ['a', 'b'], below))).toBe(
      printed(fromFolded('a;other 2\na;b;d 3\na;b;e;f 2\na;b;c 1\nother;x 9'))
    );
  });

  it('stays where the call site is not in the answer', () => {
    expect(replaceBelow(truncated, ['a', 'b'], fromFolded('x 1'))).toBe(truncated);
  });

  it('survives the way through the levels of the server', () => {
    expect(asGraph(truncated).levels).toHaveLength(4);
  });
});

describe('what is too deep to be drawn', () => {
  it('is the own value of the last call sites that are left', () => {
    const frame = fromFolded('a;b;c;d 1\na;b 2\ne 4');
    expect(printed(cutLevels(frame, 3))).toBe(printed(fromFolded('a;b 3\ne 4')));
    expect(cutLevels(frame, 5)).toBe(frame);
  });
});
