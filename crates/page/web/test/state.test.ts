import { describe, expect, it } from 'vitest';
import { INITIAL, parseState, printState, type State } from '../src/state';

describe('the state of the page', () => {
  const check = (state: State) => expect(parseState(printState(state))).toEqual(state);

  it('is what its link says', () => {
    check(INITIAL);
    check({
      ...INITIAL,
      view: 'diff',
      query: 'process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name="a&b", pod=~"x+ y"}',
      from: '1700000000000',
      to: 'now-5m',
      left: { query: 'a{}', from: '1', to: '2' },
      right: { query: '', from: 'now-1h', to: 'now' },
      display: 'graph',
      search: '^std::vec<int>$',
      inverted: true,
      sandwich: 'main & co',
      focus: ['main', 'a;b', 'ü'],
      measure: 'total',
      by: 'value',
      order: '-total',
      colors: 'other',
      names: 'end',
      sql: 'SELECT 1\n-- two lines',
      extra: { sort: '-total', limit: '5' },
    });
  });

  it('leaves out what is as usual', () => {
    expect(printState(INITIAL)).toBe('?view=single&from=now-1h&to=now');
  });

  it('takes unknown views, displays and empty ranges for the usual ones', () => {
    expect(parseState('?view=other&display=all&from=&inverted=yes')).toEqual(INITIAL);
  });

  it('reads the end of a range as Pyroscope calls it', () => {
    expect(parseState('?from=now-3h&until=now-1h')).toMatchObject({ from: 'now-3h', to: 'now-1h', extra: {} });
  });
});
