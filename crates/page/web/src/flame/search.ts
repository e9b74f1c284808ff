// What a search finds among names of functions.

/** The names that hold a match: of a regular expression, without regard to case, or of the text itself where it is none. */
export function matches(names: Iterable<string>, search: string): Set<string> | undefined {
  if (search === '') return undefined;
  const test = testOf(search);
  const found = new Set<string>();
  for (const name of names) if (test(name)) found.add(name);
  return found;
}

function testOf(search: string): (name: string) => boolean {
  const lower = search.toLowerCase();
  try {
    const pattern = new RegExp(search, 'i');
    return (name) => pattern.test(name) || name.toLowerCase().includes(lower);
  } catch {
    return (name) => name.toLowerCase().includes(lower);
  }
}

/** The search that finds a function of exactly this name. */
export function exactly(name: string): string {
  return `^${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`;
}
