// Reads numbers, tables and colours from a page, as people see them and as they stand beside.
import { assert, assertEqual, eventually } from './assert.mjs';

const FACTORS = {
  d: 86_400e9, h: 3_600e9, min: 60e9, s: 1e9, ms: 1e6, 'µs': 1e3, ns: 1,
  PiB: 2 ** 50, TiB: 2 ** 40, GiB: 2 ** 30, MiB: 2 ** 20, KiB: 1024, B: 1,
  T: 1e12, G: 1e9, M: 1e6, k: 1e3, '': 1,
};

/** Milliseconds as the API's nanoseconds. */
export const nanos = (milliseconds) => `${Math.round(milliseconds)}000000`;

/** What a text for people says, in the type's unit: `1.25 s` is 1,250,000,000 ns. */
export function readable(text) {
  const match = /^([-+]?[\d.,]+)\s*(d|h|min|s|ms|µs|ns|[PTGMK]iB|B|[TGMk]?)(?![\w])/.exec(text.trim());
  assert(match, `${JSON.stringify(text)} is no number with a unit`);
  return Number(match[1].replaceAll(',', '')) * FACTORS[match[2]];
}

/** Fails when a text for people is not the exact value, rounded. */
export function assertReadable(text, exact, what) {
  const found = readable(text);
  assert(Math.abs(found - Number(exact)) <= Math.abs(Number(exact)) * 0.006 + 1e-9, `${what}: ${text} is shown for ${exact}`);
}

/** The exact value that stands at a test id; what is shown for it is checked, too. */
export async function valueAt(page, testId) {
  const element = page.getByTestId(testId).first();
  const exact = await element.getAttribute('data-value');
  assertReadable(await element.innerText(), exact, testId);
  return exact;
}

/** Waits until the value at a test id is the expected one. */
export async function settles(page, testId, expected) {
  let found;
  await eventually(async () => {
    found = await page.getByTestId(testId).first().getAttribute('data-value', { timeout: 5_000 }).catch(() => undefined);
    return found === expected;
  }, `${testId} = ${expected}`).catch((error) => {
    throw new Error(`${error.message}: it is ${found}`);
  });
  await valueAt(page, testId);
}

/** The rows of a table that is drawn whole: their names, values and texts. */
export function rowsOf(page, testId) {
  return page.evaluate(
    (id) =>
      [...document.querySelectorAll(`[data-testid="${id}"] tbody tr:not([aria-hidden])`)].map((row) => ({
        ...row.dataset,
        cells: [...row.cells].map((cell) => {
          const share = cell.querySelector('.share')?.innerText.trim();
          const text = cell.innerText.trim();
          return { ...cell.dataset, share, text: share ? text.slice(0, -share.length).trim() : text };
        }),
      })),
    testId
  );
}

/** The cell of a row in a column. */
export function cellOf({ cells }, column) {
  return cells.find(({ col }) => col === column);
}

/** A row by its name. */
export async function rowOf(page, testId, name) {
  const found = (await rowsOf(page, testId)).find((row) => row.name === name);
  assert(found, `${testId} has no row ${name}`);
  return found;
}

/** Clicks on "show more" below a table of functions until all are there. */
export async function showAll(page, testId) {
  const more = page.locator(`[data-testid="${testId}"] ~ .more button, .more:has(button) button`).first();
  while (await more.isVisible()) await more.click();
}

/** Parts of the drawn pixels of the flame graph by colour: red, green, grey, and any colour at all. */
export function colours(page) {
  return page.evaluate(() => {
    const canvas = document.querySelector('canvas[data-testid="flameGraph"]');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const seen = { red: 0, green: 0, grey: 0, coloured: 0, drawn: 0 };
    for (let at = 0; at < data.length; at += 4) {
      const [r, g, b, alpha] = data.subarray(at, at + 4);
      if (alpha === 0) continue;
      seen.drawn += 1;
      const [least, most] = [Math.min(r, g, b), Math.max(r, g, b)];
      if (most - least < 24) seen.grey += 1;
      else seen.coloured += 1;
      if (r > g + 40 && r > b + 40) seen.red += 1;
      if (g > r + 24 && g > b + 10) seen.green += 1;
    }
    return { ...seen, of: data.length / 4 };
  });
}

/** Waits until the flame graph is drawn, which comes with the drawing's own code. */
export async function drawn(page) {
  await page.locator('canvas[data-testid="flameGraph"]').first().waitFor();
  await eventually(async () => (await colours(page)).drawn > 1000, 'the flame graph is drawn');
}

/** Drags over a timeline, from one part of its width to another. */
export async function drag(page, testId, from, to) {
  const box = await page.getByTestId(testId).locator('.timeline-box').boundingBox();
  const at = (part) => [box.x + box.width * part, box.y + box.height / 2];
  await page.mouse.move(...at(from));
  await page.mouse.down();
  await page.mouse.move(...at((from + to) / 2), { steps: 4 });
  await page.mouse.move(...at(to), { steps: 4 });
  await page.mouse.up();
}

/** The parameters of the page's URL. */
export function parameters(page) {
  return new URL(page.url()).searchParams;
}

/** Waits until a parameter of the URL is as expected. */
export async function located(page, name, expected) {
  await eventually(() => parameters(page).get(name) === expected, `the URL has ${name}=${expected}`);
}

/** Functions of the API's answer, by name: self and total as it has them. */
export async function functionsOf(server, selection) {
  const { functions = [], total = '0' } = await server.ask('Top', { selection, limit: 100_000 });
  return { total, byName: new Map(functions.map(({ name = '', self = '0', total: all = '0' }) => [name, { self, total: all }])) };
}

/** Fails when a table of functions does not show exactly those of the API, with their shares of all. */
export async function assertFunctions(page, testId, { total: sum, byName: expected }) {
  await eventually(async () => (await rowsOf(page, testId)).length > 0, `${testId} has rows`);
  await showAll(page, testId);
  const rows = await rowsOf(page, testId);
  assertEqual(rows.map((row) => row.name).sort(), [...expected.keys()].sort(), `the functions of ${testId}`);
  for (const row of rows) {
    for (const column of ['self', 'total']) {
      const { value, text, share } = cellOf(row, column);
      const exact = expected.get(row.name)[column];
      const percent = (Number(exact) / Number(sum)) * 100;
      assert(percent < 0.01 || Math.abs(parseFloat(share) - percent) <= 0.051, `${share} is shown for ${percent} % of ${row.name}`);
      assertEqual(value, exact, `${column} of ${row.name}`);
      assertReadable(text, exact, `${column} of ${row.name}`);
    }
  }
}
