// What the checks expect.

export function assert(holds, what) {
  if (!holds) throw new Error(what);
}

export function assertEqual(found, expected, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  assert(a === b, `${what}: found ${a}, expected ${b}`);
}

/** Waits until `holds` says so, for two minutes at most. */
export async function eventually(holds, what) {
  for (let turn = 0; turn < 1200; turn++) {
    if (await holds()) return;
    await new Promise((later) => setTimeout(later, 100));
  }
  throw new Error(`${what} does not come true`);
}
