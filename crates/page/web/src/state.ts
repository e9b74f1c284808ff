// What the page shows is its URL: this module parses and prints it.
//
// Parameters that have their usual value are left out; those that the page does not know are kept.
import type { Range } from './time';

export const VIEWS = ['single', 'comparison', 'diff', 'explore', 'sql', 'profiles'] as const;
export type View = (typeof VIEWS)[number];
export type Display = 'both' | 'table' | 'graph';

/** One of two sides. What is empty is as it would be without the side: the query of all, half of the range. */
export interface Side extends Range {
  query: string;
}

export interface State extends Range {
  view: View;
  /** `TYPE{selector}`; empty until one is chosen. */
  query: string;
  left: Side;
  right: Side;
  display: Display;
  search: string;
  inverted: boolean;
  /** The function that the sandwich shows; empty for none. */
  sandwich: string;
  /** The call site that fills the width: functions, root first. */
  focus: string[];
  /** What the table of a diff compares. */
  measure: 'self' | 'total';
  by: 'share' | 'value';
  /** The column that the table of functions is sorted by, `-` first for falling; empty for the usual one. */
  order: string;
  /** The usual colours, or the other ones: by value, and for the colour-blind. */
  colors: 'usual' | 'other';
  /** Which end of a long name is shown. */
  names: 'begin' | 'end';
  sql: string;
  /** Parameters of views that are not among the above. */
  extra: Record<string, string>;
}

const SIDE: Side = { query: '', from: '', to: '' };

export const INITIAL: State = {
  view: 'single',
  query: '',
  from: 'now-1h',
  to: 'now',
  left: SIDE,
  right: SIDE,
  display: 'both',
  search: '',
  inverted: false,
  sandwich: '',
  focus: [],
  measure: 'self',
  by: 'share',
  order: '',
  colors: 'usual',
  names: 'begin',
  sql: '',
  extra: {},
};

const KNOWN = new Set([
  ...['view', 'query', 'from', 'to', 'until', 'display', 'search', 'inverted', 'sandwich', 'focus', 'measure', 'by', 'order', 'colors'],
  ...['names', 'sql'],
  ...['left', 'right'].flatMap((side) => ['Query', 'From', 'To'].map((part) => side + part)),
]);

function oneOf<T extends string>(text: string | null, allowed: readonly T[], usual: T): T {
  return allowed.find((each) => each === text) ?? usual;
}

/** The state that the query part of a URL says. */
export function parseState(text: string): State {
  const parameters = new URLSearchParams(text);
  const side = (name: string): Side => ({
    query: parameters.get(`${name}Query`) ?? '',
    from: parameters.get(`${name}From`) ?? '',
    to: parameters.get(`${name}To`) ?? '',
  });
  return {
    view: oneOf(parameters.get('view'), VIEWS, INITIAL.view),
    query: parameters.get('query') ?? '',
    from: parameters.get('from') || INITIAL.from,
    to: parameters.get('to') || parameters.get('until') || INITIAL.to,
    left: side('left'),
    right: side('right'),
    display: oneOf(parameters.get('display'), ['both', 'table', 'graph'], INITIAL.display),
    search: parameters.get('search') ?? '',
    inverted: parameters.get('inverted') === '1',
    sandwich: parameters.get('sandwich') ?? '',
    focus: parameters.getAll('focus'),
    measure: oneOf(parameters.get('measure'), ['self', 'total'], INITIAL.measure),
    by: oneOf(parameters.get('by'), ['share', 'value'], INITIAL.by),
    order: parameters.get('order') ?? '',
    colors: oneOf(parameters.get('colors'), ['usual', 'other'], INITIAL.colors),
    names: oneOf(parameters.get('names'), ['begin', 'end'], INITIAL.names),
    sql: parameters.get('sql') ?? '',
    extra: Object.fromEntries([...parameters].filter(([name]) => !KNOWN.has(name))),
  };
}

/** The query part of the URL that says the state: `parseState(printState(state))` is the state. */
export function printState(state: State): string {
  const parameters = new URLSearchParams();
  const put = (name: string, value: string, usual: string) => {
    if (value !== usual) parameters.append(name, value);
  };
  parameters.append('view', state.view);
  put('query', state.query, '');
  parameters.append('from', state.from);
  parameters.append('to', state.to);
  for (const name of ['left', 'right'] as const) {
    put(`${name}Query`, state[name].query, '');
    put(`${name}From`, state[name].from, '');
    put(`${name}To`, state[name].to, '');
  }
  put('display', state.display, INITIAL.display);
  put('search', state.search, '');
  put('inverted', state.inverted ? '1' : '', '');
  put('sandwich', state.sandwich, '');
  for (const name of state.focus) parameters.append('focus', name);
  put('measure', state.measure, INITIAL.measure);
  put('by', state.by, INITIAL.by);
  put('order', state.order, '');
  put('colors', state.colors, INITIAL.colors);
  put('names', state.names, INITIAL.names);
  put('sql', state.sql, '');
  for (const [name, value] of Object.entries(state.extra)) put(name, value, '');
  return `?${parameters}`;
}
