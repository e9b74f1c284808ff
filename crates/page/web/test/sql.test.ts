import { describe, expect, it } from 'vitest';
import { AnswerReader, isNumeric, sorted, textOf, type Answer } from '../src/views/sql/answer';
import { columnsFor, completions, plainType, tablesOf } from '../src/views/sql/catalog';
import { windowOf } from '../src/views/sql/window';
import { examplesOf, quoted, quotedTime } from '../src/views/sql/examples';
import { graphOfJson, graphOfStacks, graphsOf, isFolded, levelsOf, typeIn } from '../src/views/sql/graph';

/** The answer of a text that comes in pieces of `length`. */
function read(text: string, length = text.length): Answer {
  const reader = new AnswerReader();
  for (let at = 0; at < text.length; at += length) reader.push(text.slice(at, at + length));
  return reader.finish();
}

const TWO_ROWS = `{"columns":[{"name":"leaf","type":"Utf8"},{"name":"spent","type":"Int64"}],"rows":[
["a \\"b\\", c]",7],
[null,-3]
]}
`;

describe('an answer', () => {
  it('is the same in pieces of any length', () => {
    const columns = [
      { name: 'leaf', type: 'Utf8' },
      { name: 'spent', type: 'Int64' },
    ];
    const whole = { columns, rows: [['a "b", c]', 7], [null, -3]], hasMore: false, damaged: [] };
    for (const length of [1, 2, 7, 1000]) expect(read(TWO_ROWS, length)).toEqual(whole);
  });

  it('shows rows before its end', () => {
    const reader = new AnswerReader();
    reader.push(TWO_ROWS.slice(0, TWO_ROWS.indexOf('[null')));
    expect(reader.answer.columns.map(({ name }) => name)).toEqual(['leaf', 'spent']);
    expect(reader.answer.rows).toEqual([['a "b", c]', 7]]);
  });

  it('of no rows has its columns and its end', () => {
    const none = '{"columns":[{"name":"n","type":"Int64"}],"rows":[]}\n';
    expect(read(none, 5)).toEqual({ columns: [{ name: 'n', type: 'Int64' }], rows: [], hasMore: false, damaged: [] });
    const cut = '{"columns":[],"rows":[],\n"has_more":true}\n';
    expect(read(cut).hasMore).toBe(true);
  });

  it('tells of more rows and of damaged segments', () => {
    const text = '{"columns":[],"rows":[\n[]\n],\n"has_more":true,\n"damaged":[{"segment":"s","error":"bad"}]}\n';
    const answer = read(text, 3);
    expect(answer).toMatchObject({ rows: [[]], hasMore: true, damaged: [{ segment: 's', error: 'bad' }] });
  });

  it('that breaks off is none', () => {
    expect(() => read(TWO_ROWS.slice(0, TWO_ROWS.indexOf(']}')))).toThrow('broke off');
    expect(() => read('')).toThrow();
  });

  it('keeps every digit of whole numbers', () => {
    const text = '{"columns":[],"rows":[\n[9223372036854775807,-9223372036854775808,9007199254740991,1e300,"1234567890123456789"]\n]}\n';
    const [row] = read(text).rows;
    expect(row).toEqual(['9223372036854775807', '-9223372036854775808', 9007199254740991, 1e300, '1234567890123456789']);
  });
});

describe('sorting', () => {
  const rows = [[2], [null], ['9223372036854775807'], [10], ['9223372036854775806'], [2]];

  it('compares numbers as numbers, exactly, nulls last', () => {
    expect(sorted(rows, 0, 'Int64', false)).toEqual([0, 5, 3, 4, 2, 1]);
    expect(sorted(rows, 0, 'Int64', true)).toEqual([2, 4, 3, 0, 5, 1]);
  });

  it('compares all else as text', () => {
    expect(sorted([['b'], [['x']], ['a'], [null]], 0, 'Utf8', false)).toEqual([1, 2, 0, 3]);
    expect(isNumeric('Utf8')).toBe(false);
    expect(['Int64', 'UInt8', 'Float64', 'Decimal128(38, 0)'].every(isNumeric)).toBe(true);
    expect(textOf({ pod: 'p1' })).toBe('{"pod":"p1"}');
  });
});

describe('flame graphs in rows', () => {
  const frames = [
    [0, 'total', 0, 10],
    [1, 'main', 1, 7],
    [2, 'read', 6, 6],
    [1, 'gc', 3, 3],
  ] as const;
  const levels = [['0', '10', '0', '0'], ['0', '7', '1', '1', '0', '3', '3', '3'], ['0', '6', '6', '2']];

  const answer = (names: string[], types: string[], rows: unknown[][]): Answer => ({
    columns: names.map((name, at) => ({ name, type: types[at] ?? 'Utf8' })),
    rows: rows as Answer['rows'],
    hasMore: false,
    damaged: [],
  });
  const only = (of: Answer) => {
    const found = graphsOf(of);
    expect(found).toHaveLength(1);
    return found[0]?.graph();
  };

  it('are frames in preorder', () => {
    const merge = answer(['depth', 'name', 'self', 'total'], ['UInt32', 'Utf8', 'Int64', 'Int64'], frames.map((row) => [...row]));
    const graph = only(merge);
    expect(graph?.names).toEqual(['total', 'main', 'read', 'gc']);
    expect(graph?.levels.map(({ values }) => values)).toEqual(levels);
    expect(graph?.sides).toBe(1);
  });

  it('are frames of two sides', () => {
    const names = ['depth', 'name', 'self_before', 'total_before', 'self_after', 'total_after'];
    const rows = [
      [0, 'total', 0, 2, 0, 5],
      [1, 'a', 2, 2, 0, 0],
      [1, 'b', 0, 0, 5, 5],
    ];
    const graph = only(answer(names, [], rows));
    expect(graph).toMatchObject({ sides: 2, total: '7', leftTicks: '2', rightTicks: '5', maxSelf: '5' });
    expect(graph?.levels[1]?.values).toEqual(['0', '2', '2', '0', '0', '0', '1', '0', '0', '0', '0', '5', '5', '2']);
  });

  it('are not rows whose order is no preorder', () => {
    const names = ['depth', 'name', 'self', 'total'];
    expect(graphsOf(answer(names, [], [[0, 'total', 0, 1], [2, 'x', 1, 1]]))).toEqual([]);
    expect(graphsOf(answer(names, [], [[1, 'x', 1, 1]]))).toEqual([]);
    expect(graphsOf(answer(names, [], []))).toEqual([]);
  });

  it('are texts of JSON, one a row, called by the other values', () => {
    const json = JSON.stringify({ levels: [{ values: [0, 3, 3, 0] }], max_self: 3, names: ['total'], total: 3 });
    const found = graphsOf(answer(['service_name', 'graph'], [], [['api', json], ['web', json], ['none', null]]));
    expect(found.map(({ label }) => label)).toEqual(['api', 'web']);
    expect(found[1]?.graph()).toEqual({
      names: ['total'],
      levels: [{ values: ['0', '3', '3', '0'] }],
      sides: 1,
      total: '3',
      maxSelf: '3',
    });
    expect(graphOfJson('{"names":1,"levels":[]}')).toBeNull();
    expect(graphOfJson('{"names":["levels"')).toBeNull();
  });

  it('are folded texts', () => {
    const graph = only(answer(['folded'], [], [['main;read 6\nmain 1\ngc 3\n']]));
    expect(graph?.names).toEqual(['total', 'gc', 'main', 'read']);
    expect(graph?.levels.map(({ values }) => values.filter((_, at) => at % 4 === 1))).toEqual([['10'], ['3', '7'], ['6']]);
    expect(isFolded('GET /users 12')).toBe(false);
    expect(isFolded('main;read\n')).toBe(false);
  });

  it('are stacks with a number', () => {
    const types = ['List(Utf8)', 'Int64'];
    const rows = [[['main', 'read'], 6], [['main'], 1], [['gc'], '3'], [[], 2]];
    const graph = only(answer(['stack', 'spent'], types, rows));
    expect(graph?.levels[0]?.values).toEqual(['0', '12', '2', '0']);
    expect(graphsOf(answer(['stack', 'a', 'b'], [...types, 'Int64'], [[['x'], 1, 2]]))).toEqual([]);
    expect(graphsOf(answer(['stack', 'depth'], ['List(Dictionary(Int32, Utf8))', 'UInt32'], [[['x'], 1]]))).toEqual([]);
  });

  it('lay children from the left end of their parent', () => {
    const node = (depth: number, total: bigint) => ({ depth, name: 'f', totals: [total], selves: [0n] });
    const graph = levelsOf([node(0, 9n), node(1, 4n), node(1, 5n), node(2, 2n)], 1);
    // the node of the third level stands 4 to the right of where the level begins
    expect(graph.levels[2]?.values).toEqual(['4', '2', '0', '0']);
    expect(graphOfStacks([]).levels).toEqual([{ values: ['0', '0', '0', '0'] }]);
  });
});

describe('the unit of a statement', () => {
  it('is that of the profile type it names', () => {
    const statement = `SELECT * FROM merge('process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name="a:b"}')`;
    expect(typeIn(statement)).toBe('process_cpu:cpu:nanoseconds:cpu:nanoseconds');
    expect(typeIn("WHERE profile_type = 'folded:samples:count::'")).toBe('folded:samples:count::');
    expect(typeIn("SELECT '12:30'")).toBe('');
  });
});

describe('the catalog', () => {
  it('names tables as a statement does', () => {
    const rows = [
      ['public', 'functions', 'name', 'Utf8'],
      ['public', 'samples', 'value', 'Int64'],
      ['public', 'samples', 'stack', 'List(Utf8)'],
      ['segment', 'profiles', 'unit', 'Int64'],
    ];
    const tables = tablesOf(rows);
    expect(tables.map(({ name }) => name)).toEqual(['samples', 'functions', 'segment.profiles']);
    expect(completions(tables)).toEqual({ samples: ['value', 'stack'], functions: ['name'], 'segment.profiles': ['unit'] });
    expect(tables[0]?.columns[1]).toEqual({ name: 'stack', type: 'list of text' });
  });

  it('offers the columns of the tables that a statement names', () => {
    const table = (name: string, ...columns: string[]) => ({ name, columns: columns.map((of) => ({ name: of, type: 'text' })) });
    const tables = [table('samples', 'leaf', 'time'), table('profiles', 'total', 'time'), table('segment.samples', 'key')];
    const names = (statement: string) => columnsFor(statement, tables).map(({ name }) => name);
    expect(names('SELECT le')).toEqual(['leaf', 'time', 'total']);
    expect(names('SELECT x FROM PROFILES')).toEqual(['total', 'time']);
    expect(names('SELECT x FROM segment.samples')).toEqual(['key']);
  });

  it('says types in words', () => {
    expect(plainType('Dictionary(Int32, Utf8)')).toBe('text');
    expect(plainType('Timestamp(ns, "UTC")')).toBe('timestamp');
    expect(plainType('UInt32')).toBe('integer');
    expect(plainType('Boolean')).toBe('boolean');
  });
});

describe('examples', () => {
  it('are about what the page looks at', () => {
    const subject = { profileType: 't', selector: 't{a="it\'s"}', from: 'now-1h', to: 'now', middle: '2026-05-01T00:00:00Z' };
    const [first, second] = examplesOf(subject);
    expect(first?.statement).toContain(`top_functions('t{a="it''s"}', 'now-1h', 'now')`);
    expect(second?.statement).toContain("'now-1h', '2026-05-01T00:00:00Z', '2026-05-01T00:00:00Z', 'now'");
    const titles = examplesOf(subject).map(({ title }) => title);
    expect(new Set(titles).size).toBe(titles.length);
  });

  it('say times as expressions', () => {
    expect(quotedTime('now')).toBe('now()');
    expect(quotedTime('now-1h')).toBe("now() - INTERVAL '1 hour'");
    expect(quotedTime('now-30d')).toBe("now() - INTERVAL '30 days'");
    expect(quotedTime('2026-05-01T00:00:00Z')).toBe("'2026-05-01T00:00:00Z'");
    expect(quoted("it's")).toBe("'it''s'");
  });
});

describe('a long table', () => {
  it('draws what is in sight, and a margin', () => {
    expect(windowOf(10_000, 0, 300)).toEqual({ first: 0, end: 18 });
    expect(windowOf(10_000, 3000, 300)).toEqual({ first: 92, end: 118 });
    expect(windowOf(5, 0, 300)).toEqual({ first: 0, end: 5 });
  });

  it('is not scrolled beyond its end when it becomes shorter', () => {
    expect(windowOf(20, 90_000, 300)).toEqual({ first: 2, end: 20 });
    expect(windowOf(0, 90_000, 300)).toEqual({ first: 0, end: 0 });
  });
});
