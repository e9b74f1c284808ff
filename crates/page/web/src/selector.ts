// Selectors: a profile type and matchers of labels, `TYPE{name="value", …}`, parsed and printed.

export type Operator = '=' | '!=' | '=~' | '!~';
export const OPERATORS: readonly Operator[] = ['=', '!=', '=~', '!~'];

export interface Matcher {
  name: string;
  operator: Operator;
  value: string;
}

export interface Selector {
  /** `name:sample_type:sample_unit:period_type:period_unit`, or empty. */
  type: string;
  matchers: Matcher[];
}

const MATCHER = /\s*([^\s=!~,{}"]+|"(?:[^"\\]|\\.)*")\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(,|$)/y;
const ESCAPES: Record<string, string> = { n: '\n', t: '\t', r: '\r' };

const unescape = (text: string) => text.replace(/\\(.)/gs, (_, letter: string) => ESCAPES[letter] ?? letter);
const quoted = (text: string) => `"${text.replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n')}"`;

/** The selector that `text` is; undefined where it is none. */
export function parseSelector(text: string): Selector | undefined {
  const trimmed = text.trim();
  const brace = trimmed.indexOf('{');
  if (brace < 0) return { type: trimmed, matchers: [] };
  if (!trimmed.endsWith('}')) return undefined;
  const matchers = parseMatchers(trimmed.slice(brace + 1, -1));
  return matchers && { type: trimmed.slice(0, brace).trim(), matchers };
}

function parseMatchers(text: string): Matcher[] | undefined {
  const matchers: Matcher[] = [];
  MATCHER.lastIndex = 0;
  while (text.slice(MATCHER.lastIndex).trim() !== '') {
    const at = MATCHER.lastIndex;
    const found = MATCHER.exec(text);
    if (!found || found.index !== at) return undefined;
    const name = found[1]!.startsWith('"') ? unescape(found[1]!.slice(1, -1)) : found[1]!;
    matchers.push({ name, operator: found[2] as Operator, value: unescape(found[3]!) });
  }
  return matchers;
}

export function printMatcher(matcher: Matcher): string {
  const name = /^[a-zA-Z_][a-zA-Z0-9_.]*$/.test(matcher.name) ? matcher.name : quoted(matcher.name);
  return `${name}${matcher.operator}${quoted(matcher.value)}`;
}

export function printSelector(selector: Selector): string {
  return `${selector.type}${printMatchers(selector.matchers)}`;
}

/** The matchers alone, `{…}`, also where there are none. */
export function printMatchers(matchers: readonly Matcher[]): string {
  return `{${matchers.map(printMatcher).join(', ')}}`;
}

/** The service that a selector asks for by name. */
export function serviceOf(selector: Selector): string | undefined {
  return selector.matchers.find((each) => each.name === 'service_name' && each.operator === '=')?.value;
}

/** The same selector for another service; all services where it is empty. */
export function withService(selector: Selector, service: string): Selector {
  const others = selector.matchers.filter((each) => each.name !== 'service_name' || each.operator !== '=');
  const own: Matcher[] = service === '' ? [] : [{ name: 'service_name', operator: '=', value: service }];
  return { ...selector, matchers: [...own, ...others] };
}

/** A selector of one service and type. */
export function selectorOf(type: string, service: string): string {
  return printSelector(withService({ type, matchers: [] }, service));
}
