import { describe, expect, it } from 'vitest';
import { colorOfChange, colorOfPackage } from '../src/flame/colors';
import { flamebearer } from '../src/flame/exports';
import { layout, svg } from '../src/flame/pictures';
import { fromFolded } from './folded';

describe('JSON', () => {
  it('is as Pyroscope writes it', () => {
    const json = flamebearer(fromFolded('a;b 3\nc 1'), 'api', 'nanoseconds');
    expect(json.flamebearer).toEqual({
      names: ['total', 'a', 'b', 'c'],
      levels: [
        [0, 4, 0, 0],
        [0, 3, 0, 1, 0, 1, 1, 3],
        [0, 3, 3, 2],
      ],
      numTicks: 4,
      maxSelf: 3,
    });
    expect(json.metadata).toMatchObject({ format: 'single', units: 'nanoseconds', name: 'api' });
  });

  it('has the distances of either side', () => {
    const json = flamebearer(fromFolded('a 1 2\nb;c 0 4', 2), 'api', 'count');
    expect(json.flamebearer.levels).toEqual([
      [0, 1, 0, 0, 6, 0, 0],
      [0, 1, 1, 0, 2, 2, 1, 0, 0, 0, 0, 4, 0, 2],
      [1, 0, 0, 2, 4, 4, 3],
    ]);
    expect(json).toMatchObject({ leftTicks: 1, rightTicks: 6, metadata: { format: 'double' } });
  });
});

describe('pictures', () => {
  it('draw each call site below its caller, as wide as what it spends', () => {
    const boxes = layout(fromFolded('a;b 3\nc 1'), 400, 'count');
    expect(boxes.map(({ label, x, y, width }) => [label, x, y, width])).toEqual([
      ['total', 0, 0, 400],
      ['a', 0, 18, 300],
      ['b', 0, 36, 300],
      ['c', 300, 18, 100],
    ]);
  });

  it('leave out what is narrower than can be seen', () => {
    expect(layout(fromFolded('a 100000\nb 1'), 400, 'count').map((box) => box.label)).toEqual(['total', 'a']);
  });

  it('are well-formed, whatever functions are called', () => {
    const text = svg(fromFolded('a<b>&"c" 3'), 400, 'count', 'x < y');
    expect(text).toContain('x &#60; y');
    expect(text).toContain('a&#60;b&#62;&#38;&#34;c&#34;');
    expect(text).not.toMatch(/<b>|&"/);
  });

  it('say how much each call site changed', () => {
    expect(layout(fromFolded('a 1 2\nb 3 2', 2), 400, 'count')[1]).toMatchObject({
      title: 'a (1, 25.0 % → 2, 50.0 %, +100 %)',
      fill: 'rgb(200,0,0)',
    });
  });
});

describe('colours', () => {
  it('are red where a share doubled or is new, green where it is gone, grey where nothing changed', () => {
    expect(colorOfChange(1, 2, 10, 10)).toBe('rgb(200,0,0)');
    expect(colorOfChange(0, 2, 10, 10)).toBe('rgb(200,0,0)');
    expect(colorOfChange(5, 0, 10, 10)).toBe('rgb(0,170,0)');
    expect(colorOfChange(5, 10, 10, 20)).toBe('rgb(148,142,142)');
    expect(colorOfChange(1, 5, 0, 10)).toBe('rgb(148,142,142)');
  });

  it('are one for all functions of a package', () => {
    expect(colorOfPackage('net/http.(*Server).Serve')).toBe(colorOfPackage('net/http.(*conn).serve'));
    expect(colorOfPackage('net/http.(*Server).Serve')).not.toBe(colorOfPackage('encoding/json.Marshal'));
  });
});
