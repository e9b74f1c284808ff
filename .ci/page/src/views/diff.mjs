// The diff: what grew is red, what shrank is green, and the table says by how much.
import { assert, assertEqual, eventually } from '../assert.mjs';
import { open, visit } from '../browser.mjs';
import { checkDiffExports } from '../exports.mjs';
import { cellOf, colours, drawn, located, nanos, readable, rowOf, rowsOf, showAll, valueAt } from '../reading.mjs';
import { CPU } from '../seed.mjs';

const API = `${CPU}{service_name="api"}`;

export async function checkDiff({ browser, server, seeded }) {
  const { start, middle, end } = seeded;
  const page = await open(browser);
  const halves = { leftFrom: start, leftTo: middle, rightFrom: middle, rightTo: end };
  await visit(page, server.address, { view: 'diff', query: API, from: start, to: end, ...halves });
  await drawn(page);
  const selection = (from, to) => ({ query: API, startUnixNano: nanos(from), endUnixNano: nanos(to) });
  const request = { before: selection(start, middle), after: selection(middle, end) };
  await table(page, await server.ask('CompareFunctions', { ...request, limit: 2000 }), seeded);
  await sorting(page);
  await inColour(page);
  await checkDiffExports(page, server, request);
  await page.leave();
}

/** Every function with its values, and how much it changed, as a plain loop counts. */
async function table(page, answered, seeded) {
  assertEqual(await valueAt(page, 'total-left'), answered.totalBefore, 'the total of the baseline');
  assertEqual(await valueAt(page, 'total-right'), answered.totalAfter, 'the total of the comparison');
  await eventually(async () => (await rowsOf(page, 'functions-table')).length > 0, 'the table has rows');
  await showAll(page, 'functions-table');
  const rows = await rowsOf(page, 'functions-table');
  assertEqual(rows.map(({ name }) => name), answered.functions.map(({ name }) => name), 'functions in the order of the server');
  const sides = [({ time }) => time < seeded.middle, ({ time }) => time >= seeded.middle].map((matches) => seeded.count('api', matches));
  for (const row of rows) {
    const [before, after] = sides.map(({ functions }) => functions.get(row.name) ?? { self: 0, total: 0 });
    const exact = [row.selfBefore, row.totalBefore, row.selfAfter, row.totalAfter].map(Number);
    assertEqual(exact, [before.self, before.total, after.self, after.total], `values of ${row.name}`);
    const shares = [before.self / sides[0].total, after.self / sides[1].total];
    const cell = (column) => cellOf(row, column);
    near(Number(cell('baseline').value), shares[0], `the share of ${row.name} before`);
    near(Number(cell('comparison').value), shares[1], `the share of ${row.name} after`);
    const change = shares[0] === 0 ? (shares[1] === 0 ? 0 : 'new') : shares[1] === 0 ? 'removed' : (shares[1] / shares[0] - 1) * 100;
    assertCell(cell('change'), change, row.name);
  }
  await assertChange(page, 'work.slow', 100);
  await assertChange(page, 'work.quick', -50);
  await assertChange(page, 'work.come', 'new');
  await assertChange(page, 'work.gone', 'removed');
  const first = rows[0].name;
  assert(['work.slow', 'work.come'].includes(first), `the regression comes first, and not ${first}`);
}

function near(found, expected, what) {
  assert(Math.abs(found - expected) < 1e-9, `${what}: found ${found}, expected ${expected}`);
}

function assertCell(cell, expected, name) {
  if (typeof expected === 'string') {
    assertEqual([cell.value, cell.text], [expected, expected], `the change of ${name}`);
    return;
  }
  assert(Math.abs(Number(cell.value) - expected) < 1e-6, `the change of ${name}: found ${cell.value}, expected ${expected}`);
  const shown = readable(cell.text.replace('%', '').replace('−', '-'));
  assert(Math.abs(shown - expected) <= 0.5, `the change of ${name}: ${cell.text} is shown for ${expected}`);
}

/** A function changed by so many per cent, or is `new` or `removed`; what grew is in red, what shrank in green. */
export async function assertChange(page, name, expected) {
  await eventually(async () => (await rowsOf(page, 'functions-table')).some((row) => row.name === name), `there is a row of ${name}`);
  const { cells } = await rowOf(page, 'functions-table', name);
  assertCell(cellOf({ cells }, 'change'), expected, name);
  const colour = await page
    .locator(`[data-testid="functions-table"] tr[data-name="${name}"] [data-col="change"]`)
    .evaluate((cell) => getComputedStyle(cell).color.match(/\d+/g).map(Number));
  const [red, green] = colour;
  const grew = expected === 'new' || expected > 0;
  assert(grew ? red > green + 40 : green > red + 40, `the change of ${name} by ${expected} has the colour ${colour}`);
}

async function sorting(page) {
  await page.locator('[data-testid="functions-table"] button[data-sort="change"]').click();
  const value = ({ cells }) => {
    const text = cellOf({ cells }, 'change').value;
    return text === 'new' ? Infinity : text === 'removed' ? -100 : Number(text);
  };
  const found = (await rowsOf(page, 'functions-table')).map(value);
  assertEqual(found, [...found].sort((a, b) => (a === b ? 0 : b - a)), 'functions by their change');
}

/** What grew is drawn in red, what shrank in green, the rest in grey. */
async function inColour(page) {
  const all = await colours(page);
  assert(all.red > 100 && all.green > 100 && all.grey > 100, `the diff is drawn in ${JSON.stringify(all)}`);
  const only = async (name, isDrawn) => {
    await page.getByTestId('search').fill(`^${name.replace('.', '\\.')}$`);
    await located(page, 'search', `^${name.replace('.', '\\.')}$`);
    await eventually(async () => (await rowsOf(page, 'functions-table')).length === 1, `${name} is found`);
    await eventually(async () => isDrawn(await colours(page)), `${name} alone is in its colour`);
  };
  await only('work.slow', ({ red, green }) => red > 100 && green < red / 20);
  await only('work.quick', ({ red, green }) => green > 100 && red < green / 20);
  await page.getByTestId('search').fill('');
  await located(page, 'search', null);
}
