// What is around all views: where the page begins, prefixes, back and forward, waiting and cancelling, settings, the keyboard,
// small screens, and whether everybody can read it.
import { assert, assertEqual, eventually } from '../assert.mjs';
import { open, scan, shown, visit } from '../browser.mjs';
import { drawn, parameters, rowsOf, valueAt } from '../reading.mjs';
import { CPU } from '../seed.mjs';
import { proxy } from '../server.mjs';

const API = `${CPU}{service_name="api"}`;

/** Every view with something in it. */
export function views({ start, middle, end }, query = API) {
  const range = { query, from: start, to: end };
  const halves = { leftFrom: start, leftTo: middle, rightFrom: middle, rightTo: end };
  return [
    { view: 'single', ...range },
    { view: 'comparison', ...range, ...halves },
    { view: 'diff', ...range, ...halves },
    { view: 'explore', ...range },
    { view: 'sql', ...range, sql: 'SELECT service_name, profile_type, count(*) AS profiles, sum(total) AS cost FROM profiles GROUP BY ALL ORDER BY cost DESC' },
    { view: 'profiles', ...range },
  ];
}

export async function checkAround({ browser, server, seeded }) {
  await beginning(browser, server);
  await waiting(browser, server, seeded);
  await moving(browser, server, seeded);
  await linking(browser, server, seeded);
  await settings(browser, server, seeded);
  await reaching(browser, server, seeded);
  await everybody(browser, server, seeded);
  await narrow(browser, server, seeded);
}

/** Without parameters the page shows a service with CPU time; below a prefix of a proxy, too. */
async function beginning(browser, server) {
  const before = await proxy(server.address, '/some/prefix/');
  const page = await open(browser);
  await page.goto(`${before.address}/`);
  await shown(page, 'single');
  assertEqual(parameters(page).get('query')?.replaceAll(' ', ''), API, 'what is shown first');
  assert(BigInt(await valueAt(page, 'total')) > 0n, 'something is shown first');
  await drawn(page);
  for (const name of ['Comparison', 'Diff', 'Explore', 'SQL', 'Profiles']) await page.getByRole('link', { name, exact: true }).click();
  await shown(page, 'profiles');
  await page.leave();
  before.stop();
}

/** What takes long shows that it does, and is let go of when it is cancelled. */
async function waiting(browser, server, { start, end }) {
  const between = await proxy(server.address, '/p/');
  between.held.pattern = /QueryService\/Merge$/;
  const page = await open(browser);
  await visit(page, between.address, { view: 'single', query: API, from: start, to: end }, 'loading');
  await page.locator('[role="status"] progress').first().waitFor();
  assert(between.held.waiting > 0 && between.held.left === 0, 'the question waits');
  await page.getByTestId('cancel').first().click();
  await page.getByText('Cancelled').first().waitFor();
  await eventually(() => between.held.left === between.held.waiting, 'the question is let go of');
  between.held.pattern = undefined;
  await page.getByRole('button', { name: 'Ask again' }).first().click();
  await shown(page, 'single');
  await page.leave();
  between.stop();
}

/** Back and forward go through what was shown. */
async function moving(browser, server, { start, end }) {
  const page = await open(browser);
  await visit(page, server.address, { view: 'single', query: API, from: start, to: end });
  const total = await valueAt(page, 'total');
  await page.getByRole('link', { name: 'Diff', exact: true }).click();
  await shown(page, 'diff');
  assertEqual(parameters(page).get('query'), API, 'the query of the other view');
  await page.goBack();
  await shown(page, 'single');
  assertEqual(await valueAt(page, 'total'), total, 'the total after going back');
  await page.goForward();
  await shown(page, 'diff');
  await page.leave();
}

/** The link to a view shows to others what it shows here. */
async function linking(browser, server, seeded) {
  const text = async (page) => {
    // what stands beside functions in Explore depends on how long they took
    const of = ({ name, cells }) => [name, ...cells.slice(1, 4).map((cell) => cell.text)];
    const tables = await Promise.all(['explore-services', 'explore-functions'].map((id) => rowsOf(page, id)));
    return tables[0].length > 0 ? JSON.stringify(tables.map((rows) => rows.map(of))) : page.locator('main').innerText();
  };
  const page = await open(browser);
  for (const parameters of views(seeded)) {
    await visit(page, server.address, { ...parameters, search: 'work.f0' });
    const copy = page.getByTestId('copy-link');
    if (await copy.isVisible()) await copy.click();
    const link = (await copy.isVisible()) ? await page.evaluate(() => navigator.clipboard.readText()) : page.url();
    await page.getByText('Copied', { exact: true }).waitFor({ state: 'detached' });
    const other = await open(browser);
    await other.goto(link);
    await shown(other, parameters.view);
    await eventually(async () => (await text(other)) === (await text(page)), `the link shows what ${parameters.view} shows`);
    await other.leave();
  }
  await page.leave();
}

/** Another tenant has other profiles; its name goes with every request. */
async function settings(browser, server, { start, end }) {
  const page = await open(browser);
  await visit(page, server.address, { view: 'single', query: API, from: start, to: end });
  const asked = [];
  page.on('request', (request) => request.method() === 'POST' && asked.push(request.headers()));
  await page.getByRole('button', { name: 'Settings' }).click();
  await page.getByLabel('Tenant').fill('nobody');
  await page.getByLabel('Token').fill('secret');
  await page.getByRole('button', { name: 'Apply' }).click();
  await shown(page, 'single', 'empty');
  assert(asked.length > 0, 'the page asks again');
  for (const headers of asked) assertEqual([headers['x-scope-orgid'], headers.authorization], ['nobody', 'Bearer secret'], 'who asks');
  await page.getByRole('button', { name: 'Dark', exact: true }).click();
  await page.reload();
  await page.getByRole('button', { name: 'Light', exact: true }).waitFor();
  const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number));
  assert(Math.max(...dark) < 64, `the dark page has the colour ${dark}`);
  await page.leave();
}

/** The keyboard reaches everything, from the link that skips to the view to the flame graph. */
async function reaching(browser, server, { start, end }) {
  const page = await open(browser);
  await visit(page, server.address, { view: 'single', query: API, from: start, to: end });
  await drawn(page);
  await page.getByRole('button', { name: 'Table', exact: true }).waitFor();
  const reached = new Set();
  let stops = 0;
  for (; stops < 600 && !reached.has('flame-keys'); stops++) {
    await page.keyboard.press('Tab');
    reached.add(
      await page.evaluate(() => {
        const at = document.activeElement;
        const { outlineStyle } = getComputedStyle(at);
        if (outlineStyle === 'none') throw new Error(`nothing shows that ${at.outerHTML.slice(0, 200)} has the focus`);
        return at.dataset.testid ?? at.closest('[data-testid]')?.dataset.testid ?? at.className;
      })
    );
  }
  for (const id of ['skip', 'service', 'profile-type', 'filter', 'range', 'copy-link', 'timeline', 'search', 'inverted', 'export', 'functions-table', 'flame-keys']) {
    assert(reached.has(id), `the keyboard does not reach ${id} in ${stops} steps: ${[...reached]}`);
  }
  await page.leave();
}

/** No view has a serious barrier, in light or in dark; nor what opens over it. */
async function everybody(browser, server, seeded) {
  let minor = 0;
  for (const colorScheme of ['light', 'dark']) {
    const page = await open(browser, { colorScheme });
    for (const parameters of views(seeded)) {
      await visit(page, server.address, parameters);
      if (['single', 'comparison', 'diff'].includes(parameters.view)) await drawn(page);
      minor += await scan(page, `${parameters.view} in ${colorScheme}`);
      if (parameters.view !== 'single') continue;
      await page.getByTestId('range').click();
      minor += await scan(page, `the choice of a range in ${colorScheme}`);
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: 'Settings' }).click();
      minor += await scan(page, `the settings in ${colorScheme}`);
      await page.getByRole('button', { name: 'Settings' }).click();
      await page.getByRole('button', { name: /licen[cs]es/i }).or(page.getByRole('link', { name: /licen[cs]es/i })).first().click();
      await page.getByRole('dialog').getByText('@grafana/flamegraph').first().waitFor();
      minor += await scan(page, `the licences in ${colorScheme}`);
    }
    await visit(page, server.address, { ...views(seeded)[0], from: 1_000_000_000_000, to: 1_000_000_600_000 }, 'empty');
    minor += await scan(page, `nothing found in ${colorScheme}`);
    await page.leave();
  }
  console.log(`  no serious finding of axe in any view, ${minor} minor ones`);
}

/** On a telephone, nothing sticks out. */
async function narrow(browser, server, seeded) {
  const page = await open(browser, { width: 390, height: 844 });
  for (const parameters of views(seeded)) {
    await visit(page, server.address, parameters);
    if (['single', 'comparison', 'diff'].includes(parameters.view)) await drawn(page);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert(width <= 390, `${parameters.view} is ${width} pixels wide on a screen of 390`);
  }
  await page.leave();
}
