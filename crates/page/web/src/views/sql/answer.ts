// Rows of SQL as the server streams them: JSON with one row a line, read line by line, so that rows show while more come.
//
//   {"columns":[{"name":"leaf","type":"Utf8"}],"rows":[
//   ["read"],
//   ["write"]
//   ],
//   "has_more":true}
//
// Whole numbers beyond 2^53 stay text, digit by digit: a number of JavaScript would round them.

export interface Column {
  name: string;
  /** The type as Arrow prints it. */
  type: string;
}

export type Value = string | number | boolean | null | Value[] | { [name: string]: Value };
export type Row = Value[];

export interface DamagedSegment {
  segment: string;
  error: string;
}

export interface Answer {
  columns: Column[];
  rows: Row[];
  /** Whether the limit left rows out. */
  hasMore: boolean;
  /** Segments that could not be read and are missing. */
  damaged: DamagedSegment[];
}

interface Tail {
  columns?: Column[];
  rows: Row[];
  has_more?: boolean;
  damaged?: DamagedSegment[];
}

/** A text of JSON, or a whole number that a double may not hold. */
const TEXT_OR_LONG = /"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g;

/** JSON with every long whole number as text. */
function withExactNumbers(json: string): string {
  const keep = (found: string) => (found.startsWith('"') || Number.isSafeInteger(Number(found)) ? found : `"${found}"`);
  return /\d{16}/.test(json) ? json.replace(TEXT_OR_LONG, keep) : json;
}

function parse<T>(json: string): T {
  return JSON.parse(withExactNumbers(json)) as T;
}

/** Takes the text of an answer in pieces of any length. */
export class AnswerReader {
  readonly answer: Answer = { columns: [], rows: [], hasMore: false, damaged: [] };
  private rest = '';
  private tail: string | null = null;
  private hasHead = false;

  push(text: string): void {
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop() ?? '';
    lines.forEach((line) => this.line(line));
  }

  /** Ends the answer. Fails where its end is missing: such an answer was broken off. */
  finish(): Answer {
    const last = this.rest;
    if (last.startsWith(']') || this.tail !== null) this.push('\n');
    if (!this.tail?.endsWith('}')) throw new Error('the answer broke off before its end');
    const tail = parse<Tail>(this.tail);
    this.answer.columns = tail.columns ?? this.answer.columns;
    this.answer.hasMore = tail.has_more ?? false;
    this.answer.damaged = tail.damaged ?? [];
    return this.answer;
  }

  private line(line: string): void {
    if (this.tail !== null) this.tail += line;
    else if (!this.hasHead) this.head(line);
    else if (line.startsWith(']')) this.tail = `{"rows":[${line}`;
    else this.answer.rows.push(parse<Row>(line.endsWith(',') ? line.slice(0, -1) : line));
  }

  private head(line: string): void {
    this.hasHead = true;
    if (line.endsWith('"rows":[')) this.answer.columns = parse<Tail>(`${line}]}`).columns ?? [];
    else this.tail = line;
  }
}

const WHOLE = /^U?Int\d+$/;
const NUMBER = /^(U?Int\d+|Float\d+|Decimal\d*\(.*\))$/;

/** Whether values of the type are numbers. */
export function isNumeric(type: string): boolean {
  return NUMBER.test(type);
}

/** Whether values of the type are whole numbers. */
export function isWhole(type: string): boolean {
  return WHOLE.test(type);
}

/** A value as one line of text. */
export function textOf(value: Value): string {
  if (value === null) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function compareNumbers(a: Value, b: Value): number {
  const [left, right] = [Number(a), Number(b)];
  if (left !== right || Number.isSafeInteger(left)) return left - right;
  const [exactLeft, exactRight] = [wholeOf(a), wholeOf(b)];
  return exactLeft === exactRight ? 0 : exactLeft < exactRight ? -1 : 1;
}

function wholeOf(value: Value): bigint {
  return /^-?\d+$/.test(String(value)) ? BigInt(String(value)) : 0n;
}

/** Row numbers of `rows` in the order of a column; nulls come last either way, equal rows keep their order. */
export function sorted(rows: readonly Row[], column: number, type: string, falling: boolean): number[] {
  const numeric = isNumeric(type);
  const sign = falling ? -1 : 1;
  const compare = (a: number, b: number) => {
    const [left, right] = [rows[a]?.[column] ?? null, rows[b]?.[column] ?? null];
    if (left === null || right === null) return Number(left === null) - Number(right === null);
    if (numeric) return sign * compareNumbers(left, right);
    const [leftText, rightText] = [textOf(left), textOf(right)];
    return leftText === rightText ? 0 : leftText < rightText ? -sign : sign;
  };
  return rows.map((_, at) => at).sort(compare);
}
