// Profiles: one by one, as they were pushed.
import { assertEqual, assert } from '../assert.mjs';
import { open, shown, visit } from '../browser.mjs';
import { download, goPprof } from '../exports.mjs';
import { assertReadable, cellOf, drawn, nanos, rowsOf } from '../reading.mjs';
import { CPU } from '../seed.mjs';
import { timed, watch } from '../timing.mjs';

const API = `${CPU}{service_name="api"}`;

export async function checkProfiles({ browser, server, seeded }) {
  const page = await open(browser);
  await visit(page, server.address, { view: 'profiles', query: API, from: seeded.start, to: seeded.end });
  const selection = { query: API, startUnixNano: nanos(seeded.start), endUnixNano: nanos(seeded.end) };
  const { profiles } = await server.ask('ListProfiles', { selection, limit: 1000 });
  assertEqual(profiles.length, 60, 'the profiles of the API');
  assertEqual(await page.getByTestId('profiles-count').getAttribute('data-value'), '60', 'how many are listed');

  const byId = new Map(profiles.map((profile) => [profile.id, profile]));
  const check = async (what, order) => {
    const rows = await rowsOf(page, 'profiles-table');
    assert(rows.length > 10, `${rows.length} profiles are in sight`);
    for (const { name, cells } of rows) {
      const cell = (column) => cellOf({ cells }, column);
      const { timeUnixNano, total } = byId.get(name);
      assertEqual([cell('time').value, cell('total').value], [timeUnixNano, total], `time and total of ${name}`);
      assertReadable(cell('total').text, total, `the total of ${name}`);
    }
    const shown = rows.map(({ name }) => order(byId.get(name)));
    assertEqual(shown, [...shown].sort((a, b) => b - a), what);
  };
  await check('the newest first', ({ timeUnixNano }) => Number(BigInt(timeUnixNano) / 1_000_000n));
  await page.locator('[data-testid="profiles-table"] th button', { hasText: 'Total' }).click();
  await check('the largest first', ({ total }) => Number(total));

  const [{ name }] = await rowsOf(page, 'profiles-table');
  await page.getByTestId('profile-show').first().click();
  const opened = page.locator(`[data-testid="profile-open"][data-name="${name}"][data-state="ready"]`);
  await opened.waitFor();
  assertEqual(await opened.getByTestId('total').getAttribute('data-value'), byId.get(name).total, 'the total of the opened profile');
  await drawn(page);
  const functions = goPprof(await download(page, () => opened.getByTestId('profile-pprof').click()));
  if (functions) {
    // its first sample type counts samples; the last, which pprof shows, is the time
    const self = [...functions.values()].reduce((sum, each) => sum + BigInt(each.self), 0n);
    assertEqual(String(self), byId.get(name).total, 'the sum that go tool pprof finds in the downloaded profile');
  }
  const link = page.url();
  const other = await open(browser);
  await other.goto(link);
  await shown(other, 'profiles');
  await other.locator(`[data-testid="profile-open"][data-name="${name}"][data-state="ready"]`).waitFor();
  await other.leave();
  await page.goBack();
  await opened.waitFor({ state: 'detached' });
  await page.leave();
  await large(browser, server, seeded);
}

/** A profile is opened whole, however many call sites it has. */
async function large(browser, server, { start, end }) {
  const query = `${CPU}{service_name="deep"}`;
  const selection = { query, startUnixNano: nanos(start), endUnixNano: nanos(end) };
  const { profiles } = await server.ask('ListProfiles', { selection, limit: 1 });
  const [{ id, timeUnixNano, total }] = profiles;
  const page = await open(browser);
  await watch(page);
  await visit(page, server.address, { view: 'profiles', query, from: start, to: end, profile: id, profileTime: timeUnixNano });
  await page.locator(`[data-testid="profile-open"][data-name="${id}"][data-state="ready"]`).waitFor();
  const { afterAnswer } = await timed(page, 'SelectMergeStacktraces');
  const nodes = Number(await page.getByTestId('flame-graph').getAttribute('data-nodes'));
  assert(nodes > 60_000, `a large profile is drawn with ${nodes} nodes`);
  assertEqual(await page.getByTestId('profile-open').getByTestId('total').getAttribute('data-value'), total, 'the total of a large profile');
  console.log(`  a profile of ${nodes} nodes is free to be used ${afterAnswer.toFixed(0)} ms after its answer`);
  await page.leave();
}
