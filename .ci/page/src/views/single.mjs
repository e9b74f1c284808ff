// The single view: one selector, one range.
import { assert, assertEqual, eventually } from '../assert.mjs';
import { open, shown, visit } from '../browser.mjs';
import { checkExports } from '../exports.mjs';
import {
  assertFunctions, cellOf, colours, drag, drawn, functionsOf, located, nanos, parameters, rowsOf, settles, valueAt,
} from '../reading.mjs';
import { CPU, SPACE } from '../seed.mjs';
import { running } from '../server.mjs';

const API = `${CPU}{service_name="api"}`;

export async function checkSingle({ browser, server, seeded }) {
  const range = { from: seeded.start, to: seeded.end };
  const selection = (query, from = seeded.start, to = seeded.end) => ({ query, startUnixNano: nanos(from), endUnixNano: nanos(to) });
  const page = await open(browser);
  await visit(page, server.address, { view: 'single', query: API, ...range });

  await numbers(page, server, seeded, selection(API));
  await sorting(page);
  await searching(page, server, selection(API));
  await keyboard(page);
  await mouse(page);
  await sharing(browser, page);
  await visit(page, server.address, { view: 'single', query: API, ...range });
  await checkExports(page, server, selection(API));
  await dragging(page, server, selection);
  await choosing(page, server, selection);
  await page.leave();
  await emptiness(browser, server, seeded);
  await refusals(browser, server, range);
  await folding(browser, server, range, selection);
}

/** Total, timeline and table are those of the API, and of a plain loop over what was pushed. */
async function numbers(page, server, seeded, selection) {
  const counted = seeded.count('api');
  const answered = await functionsOf(server, selection);
  assertEqual(answered.total, String(counted.total), 'the total of the API');
  assertEqual(await valueAt(page, 'total'), answered.total, 'the total');
  assertEqual(await page.getByTestId('timeline').getAttribute('data-total'), answered.total, 'the sum of the timeline');
  await assertFunctions(page, 'functions-table', answered);
  for (const [name, { self, total }] of counted.functions) {
    assertEqual(answered.byName.get(name), { self: String(self), total: String(total) }, `${name} of the API`);
  }
  await drawn(page);
  const seen = await colours(page);
  assert(seen.coloured > seen.of * 0.1, `little of the flame graph is coloured: ${JSON.stringify(seen)}`);
  console.log(`  ${answered.byName.size} functions are shown as counted`);
}

async function sorting(page) {
  const check = async (column, read, expected) => {
    await page.locator(`[data-testid="functions-table"] button[data-sort="${column}"]`).click();
    const values = (await rowsOf(page, 'functions-table')).map(read);
    const wanted = [...values].sort(expected);
    assertEqual(values, wanted, `the table by ${column}`);
  };
  const falling = (a, b) => b - a;
  await check('total', (row) => Number(cellOf(row, 'total').value), falling);
  await check('total', (row) => Number(cellOf(row, 'total').value), (a, b) => a - b);
  await check('name', (row) => row.name, (a, b) => (a < b ? -1 : 1));
  await check('self', (row) => Number(cellOf(row, 'self').value), falling);
}

/** The search leaves its functions in the table and their colour in the graph. */
async function searching(page, server, selection) {
  const before = await colours(page);
  await page.getByTestId('search').fill('work.(slow|quick)');
  await located(page, 'search', 'work.(slow|quick)');
  await eventually(async () => (await rowsOf(page, 'functions-table')).length === 2, 'the table follows the search');
  const names = (await rowsOf(page, 'functions-table')).map((row) => row.name).sort();
  assertEqual(names, ['work.quick', 'work.slow'], 'what is found');
  await eventually(async () => (await colours(page)).coloured < before.coloured / 2, 'the graph follows the search');
  assert((await colours(page)).coloured > 100, 'what is found keeps its colour');
  assertEqual(await valueAt(page, 'total'), (await functionsOf(server, selection)).total, 'the total during a search');
}

/** Everything that the mouse does to the graph, the keyboard does. */
async function keyboard(page) {
  await page.getByTestId('flame-keys').focus();
  for (const key of ['ArrowDown', 'ArrowDown']) await page.keyboard.press(key);
  assert((await page.getByTestId('flame-said').innerText()).startsWith('work.main:'), 'the cursor stands on work.main');
  await page.keyboard.press('c');
  await eventually(async () => (await page.evaluate(() => navigator.clipboard.readText())) === 'work.main', 'the name is copied');
  await page.keyboard.press('Enter');
  await located(page, 'focus', 'work.main');
  await page.keyboard.press('Escape');
  await located(page, 'focus', null);
  await page.keyboard.press('s');
  await located(page, 'sandwich', 'work.main');
  await page.goBack();
  await located(page, 'sandwich', null);
}

/** The menu of a node: focus, copy, sandwich. */
async function mouse(page) {
  const choose = async (item) => {
    const canvas = page.locator('canvas[data-testid="flameGraph"]').first();
    const { width } = await canvas.boundingBox();
    // the second row is the one function that all others are called by
    await canvas.click({ position: { x: width / 2, y: 33 } });
    await page.getByRole('menuitem', { name: item }).click();
  };
  await drawn(page);
  await choose('Focus block');
  await located(page, 'focus', 'work.main');
  await page.getByTestId('reset').click();
  await located(page, 'focus', null);
  await choose('Copy function name');
  await eventually(async () => (await page.evaluate(() => navigator.clipboard.readText())) === 'work.main', 'the name is copied');
  await choose('Sandwich view');
  await located(page, 'sandwich', 'work.main');
  await page.getByTestId('reset').click();
  await located(page, 'sandwich', null);
}

/** A link opens what was shown when it was copied. */
async function sharing(browser, page) {
  await page.getByTestId('inverted').click();
  await located(page, 'inverted', '1');
  await upsideDown(page);
  await page.getByRole('button', { name: 'Graph', exact: true }).click();
  await located(page, 'display', 'graph');
  await page.getByRole('button', { name: 'Both', exact: true }).click();
  await page.getByTestId('copy-link').click();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  const other = await open(browser);
  await other.goto(link);
  await shown(other, 'single');
  await drawn(other);
  const look = async (each) => ({
    search: await each.getByTestId('search').inputValue(),
    inverted: await each.getByTestId('inverted').getAttribute('aria-pressed'),
    total: await valueAt(each, 'total'),
    rows: (await rowsOf(each, 'functions-table')).map((row) => [row.name, cellOf(row, 'self').value, cellOf(row, 'total').value]),
  });
  assertEqual(await look(other), await look(page), 'what the link shows');
  await other.leave();
}

/** Below the root of an inverted graph stand functions by what they spend themselves. */
async function upsideDown(page) {
  await page.getByTestId('flame-keys').focus();
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowDown');
  const said = page.getByTestId('flame-said');
  await eventually(async () => !(await said.innerText()).startsWith('total'), 'the cursor stands below the root');
  const [name] = (await said.innerText()).split(':');
  const rows = await rowsOf(page, 'functions-table');
  const self = (row) => Number(cellOf(row, 'self').value);
  const most = Math.max(...rows.map(self));
  assertEqual(self(rows.find((row) => row.name === name)), most, `${name}, the widest below the root, among own values`);
}

/** Dragging over the timeline chooses a range; back returns to the one before. */
async function dragging(page, server, selection) {
  const before = [parameters(page).get('from'), parameters(page).get('to')];
  await drag(page, 'timeline', 0.25, 0.5);
  await eventually(() => parameters(page).get('from') !== before[0], 'the drag changes the range');
  const [from, to] = ['from', 'to'].map((name) => Number(parameters(page).get(name)));
  const hour = before[1] - before[0];
  assert(Math.abs(from - before[0] - hour / 4) < hour / 200, `the drag begins at ${from}`);
  assert(Math.abs(to - before[0] - hour / 2) < hour / 200, `the drag ends at ${to}`);
  await settles(page, 'total', (await functionsOf(server, selection(API, from, to))).total);
  await page.getByTestId('timeline').locator('.timeline-box').focus();
  await page.keyboard.press('ArrowLeft');
  await eventually(() => Number(parameters(page).get('to')) < to, 'the arrow keys move the range');
  const moved = ['from', 'to'].map((name) => Number(parameters(page).get(name)));
  assertEqual(moved[1] - moved[0], to - from, 'the length of the moved range');
  await settles(page, 'total', (await functionsOf(server, selection(API, ...moved))).total);
  await page.goBack();
  await page.goBack();
  await settles(page, 'total', (await functionsOf(server, selection(API))).total);
}

/** Filters with completion, another service, another type. */
async function choosing(page, server, selection) {
  await page.getByTestId('filter').click();
  await page.locator('datalist option[value="version"]').waitFor({ state: 'attached' });
  await page.getByTestId('filter').fill('version');
  await page.locator('datalist option[value="1.1"]').waitFor({ state: 'attached' });
  await page.getByTestId('filter-value').fill('1.1');
  await page.keyboard.press('Enter');
  const filtered = `${CPU}{service_name="api",version="1.1"}`;
  await settles(page, 'total', (await functionsOf(server, selection(filtered))).total);
  await page.getByRole('button', { name: /^Remove version/ }).click();
  await settles(page, 'total', (await functionsOf(server, selection(API))).total);
  await page.getByTestId('service').selectOption('web');
  await settles(page, 'total', (await functionsOf(server, selection(`${CPU}{service_name="web"}`))).total);
  await page.getByTestId('profile-type').selectOption(SPACE);
  await settles(page, 'total', (await functionsOf(server, selection(`${SPACE}{service_name="web"}`))).total);
  await page.getByTestId('range').click();
  await page.getByRole('button', { name: 'Last 3 hours' }).click();
  await located(page, 'from', 'now-3h');
  await settles(page, 'total', (await functionsOf(server, selection(`${SPACE}{service_name="web"}`))).total);
}

/** A range without profiles says when there are some. */
async function emptiness(browser, server, seeded) {
  const page = await open(browser);
  const day = 86_400_000;
  await visit(page, server.address, { view: 'single', query: API, from: seeded.start - 9 * day, to: seeded.end - 8 * day }, 'empty');
  await page.getByText('the newest is of').waitFor();
  await page.getByRole('button', { name: 'Show the hour before it' }).click();
  await shown(page, 'single');
  assert(BigInt(await valueAt(page, 'total')) > 0n, 'there is something in the hour before the newest profile');
  await page.leave();
}

/** What the server refuses is told in its words; what takes long can be cancelled. */
async function refusals(browser, server, range) {
  const page = await open(browser);
  const wrong = `${CPU}{service_name=~"("}`;
  await visit(page, server.address, { view: 'single', query: wrong, ...range }, 'error');
  const selection = { query: wrong, startUnixNano: nanos(range.from), endUnixNano: nanos(range.to) };
  const refused = await server.ask('Top', { selection }).then(() => '', (error) => error.message);
  const message = JSON.parse(refused.slice(refused.indexOf('{'))).message;
  const told = await page.getByTestId('error').first().innerText();
  assert(told.includes(message), `the page says ${told}, the server ${message}`);
  await page.leave(/status of 400/);
  await eventually(async () => (await running(server)) === 0, 'no request is left');
}

/** A graph of too many nodes says how much is folded, and expands in place. */
async function folding(browser, server, range, selection) {
  const query = `${CPU}{service_name="deep"}`;
  const page = await open(browser);
  await visit(page, server.address, { view: 'single', query: API, ...range });
  await page.getByTestId('service').selectOption('deep');
  await shown(page, 'single');
  const { flameGraph } = await server.ask('Merge', { selection: selection(query), format: 'ANSWER_FORMAT_FLAME_GRAPH', maxNodes: '8192' });
  const other = flameGraph.names.indexOf('other');
  let folded = 0;
  for (const { values = [] } of flameGraph.levels) {
    for (let at = 0; at < values.length; at += 4) if (Number(values[at + 3]) === other) folded += Number(values[at + 1]);
  }
  assert(folded > 0, 'the server folds some of a deep call tree');
  const of = async () => Number(await page.getByTestId('truncated').getAttribute('data-value'));
  assertEqual(await of(), folded, 'how much is folded');
  await page.getByTestId('expand').click();
  await eventually(async () => (await of()) < folded, 'expanding shows what was folded');
  assertEqual(await valueAt(page, 'total'), flameGraph.total, 'the total of an expanded graph');
  await page.leave();
}
