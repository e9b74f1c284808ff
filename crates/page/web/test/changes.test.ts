import { describe, expect, it } from 'vitest';
import { changesOf } from '../src/flame/changes';

const RESPONSE = {
  totalBefore: '100',
  totalAfter: '200',
  functions: [
    { name: 'hot', selfBefore: '10', selfAfter: '40', totalBefore: '10', totalAfter: '40', selfSignificance: 'Infinity' as const },
    { name: 'new', selfAfter: '20', totalAfter: '20', selfSignificance: 4.5 },
    { name: 'gone', selfBefore: '5', totalBefore: '5' },
  ],
};

describe('changes of functions', () => {
  it('are of shares, in the order of the answer', () => {
    const rows = changesOf(RESPONSE, 'self', 'share');
    expect(rows.map((row) => [row.name, row.order, row.before, row.after, row.change, row.significance])).toEqual([
      ['hot', 0, 0.1, 0.2, 100, Infinity],
      ['new', 1, 0, 0.1, Infinity, 4.5],
      ['gone', 2, 0.05, 0, -100, undefined],
    ]);
  });

  it('are of values where these are asked for', () => {
    expect(changesOf(RESPONSE, 'total', 'value').map((row) => [row.before, row.after, row.change])).toEqual([
      [10, 40, 300],
      [0, 20, Infinity],
      [5, 0, -100],
    ]);
  });

  it('are none of nothing', () => {
    expect(changesOf({}, 'self', 'share')).toEqual([]);
  });
});
