import { describe, expect, it } from 'vitest';
import { functionsOf } from '../src/flame/frame';
import { invert } from '../src/flame/invert';
import { fromFolded, printed } from './folded';

describe('the inverted frame', () => {
  it('has functions by their own values, and below each who calls it', () => {
    const frame = fromFolded('main;read 3\nmain;write;read 2\nmain;write 1\njob;read 4');
    expect(printed(invert(frame, 100))).toBe(
      [
        'total 10/0',
        '  read 9/9',
        '    job 4/0',
        '    main 3/0',
        '    write 2/0',
        '      main 2/0',
        '  write 1/1',
        '    main 1/0',
      ].join('\n')
    );
  });

  it('is of two sides where the frame is', () => {
    expect(printed(invert(fromFolded('a;b 1 2\nb 0 3', 2), 100))).toBe('total 1/0 5/0\n  b 1/1 5/5\n    a 1/0 2/0');
  });

  it('folds callers of the smallest functions when it grows too large', () => {
    const frame = fromFolded('a;x 9\nb;x 5\nc;y 1\nd;y 1');
    expect(printed(invert(frame, 4))).toBe(
      ['total 16/0', '  x 14/14', '    a 9/0', '    b 5/0', '  y 2/2', '    other 2/0'].join('\n')
    );
  });

  it('keeps what is spent, whatever is folded', () => {
    const stacks = Array.from({ length: 300 }, (_, each) => `f${each % 7};g${each % 11};h${each % 13};f${each % 5} ${each + 1}`);
    const frame = fromFolded(stacks.join('\n'));
    const own = new Map(functionsOf(frame).map((each) => [each.name, each.self[0]]));
    for (const nodesMax of [1, 20, 100, 10_000]) {
      const inverted = invert(frame, nodesMax);
      expect(inverted.totals[0]![0]).toBe(frame.totals[0]![0]);
      inverted.levels.forEach((level, row) => {
        if (level === 1) expect(inverted.totals[0]![row]).toBe(own.get(inverted.labels[row]!));
      });
    }
  });

  it('may be empty', () => {
    expect(printed(invert({ levels: [], labels: [], totals: [[]], selves: [[]] }, 10))).toBe('');
  });
});
