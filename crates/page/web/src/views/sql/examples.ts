// Statements to begin with, about the profile type and the range that the page looks at.

/** What the examples are about. */
export interface Subject {
  /** `name:sample_type:sample_unit:period_type:period_unit`; empty where none is known. */
  profileType: string;
  /** A selector of profiles of the type: `TYPE{service_name="api"}`. */
  selector: string;
  /** The ends of the range, as table functions take them. */
  from: string;
  to: string;
  /** The moment in the middle of the range. */
  middle: string;
}

export interface Example {
  title: string;
  statement: string;
}

/** `text` as a constant of SQL. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

export function examplesOf(subject: Subject): Example[] {
  const [type, selector] = [quoted(subject.profileType), quoted(subject.selector)];
  const [from, to, middle] = [quoted(subject.from), quoted(subject.to), quoted(subject.middle)];
  return [
    {
      title: 'Functions by what they spend',
      statement: `SELECT name, self, total\nFROM top_functions(${selector}, ${from}, ${to})\nLIMIT 20`,
    },
    {
      title: 'Functions that grew, of two halves',
      statement: `SELECT name, sum(self_before) AS before, sum(self_after) AS after, sum(self_after - self_before) AS grown
FROM diff(${selector}, ${from}, ${middle}, ${middle}, ${to})
GROUP BY name
ORDER BY grown DESC
LIMIT 20`,
    },
    {
      title: 'Flame graph of a selection',
      statement: `SELECT depth, name, self, total\nFROM merge(${selector}, ${from}, ${to})\nORDER BY node`,
    },
    {
      title: 'Flame graph of two halves',
      statement: `SELECT depth, name, self_before, total_before, self_after, total_after
FROM diff(${selector}, ${from}, ${middle}, ${middle}, ${to})
ORDER BY node`,
    },
    {
      title: 'A flame graph for each service',
      statement: `SELECT service_name, flamegraph(stack, value) AS graph
FROM samples
WHERE profile_type = ${type} AND time >= ${quotedTime(subject.from)} AND time < ${quotedTime(subject.to)}
GROUP BY service_name
ORDER BY service_name`,
    },
    {
      title: 'Innermost functions by service',
      statement: `SELECT service_name, leaf, sum(value) AS spent
FROM samples
WHERE profile_type = ${type} AND time >= ${quotedTime(subject.from)} AND time < ${quotedTime(subject.to)}
GROUP BY service_name, leaf
ORDER BY spent DESC
LIMIT 20`,
    },
    {
      title: 'Totals by minute',
      statement: `SELECT date_bin(INTERVAL '1 minute', time) AS minute, sum(total) AS total, count(*) AS profiles
FROM profiles
WHERE profile_type = ${type} AND time >= ${quotedTime(subject.from)} AND time < ${quotedTime(subject.to)}
GROUP BY minute
ORDER BY minute`,
    },
    {
      title: 'Services and profile types there are',
      statement: `SELECT service_name, profile_type, count(*) AS series, max(last_time) AS newest
FROM series
GROUP BY service_name, profile_type
ORDER BY service_name, profile_type`,
    },
    {
      title: 'Where functions are defined',
      statement: `SELECT DISTINCT service_name, name, filename, start_line\nFROM functions\nORDER BY service_name, name\nLIMIT 100`,
    },
    {
      title: 'The deepest stacks',
      statement: `SELECT service_name, depth, leaf, stack\nFROM stacks\nORDER BY depth DESC\nLIMIT 20`,
    },
    {
      title: 'What is stored, by level',
      statement: `SELECT level, count(*) AS segments, sum(profiles) AS profiles, sum(samples) AS samples, sum(bytes) AS bytes
FROM segments
GROUP BY level
ORDER BY level`,
    },
    {
      title: 'What a statement reads',
      statement: `EXPLAIN ANALYZE SELECT sum(value)
FROM samples
WHERE profile_type = ${type} AND time >= ${quotedTime(subject.from)} AND time < ${quotedTime(subject.to)}`,
    },
  ];
}

const UNITS: Record<string, string> = { s: 'second', m: 'minute', h: 'hour', d: 'day', w: 'week', y: 'year' };

/** A time as the page writes it, `now-1h` or RFC 3339, as an expression that is compared with a `time`. */
export function quotedTime(text: string): string {
  if (text === 'now') return 'now()';
  const [, amount, unit = ''] = /^now-(\d+)(s|m|h|d|w|y)$/.exec(text) ?? [];
  if (amount === undefined) return quoted(text);
  return `now() - INTERVAL '${amount} ${UNITS[unit]}${amount === '1' ? '' : 's'}'`;
}
