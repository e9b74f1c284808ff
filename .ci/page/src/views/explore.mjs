// Explore: services and functions by cost.
import { assert, assertEqual } from '../assert.mjs';
import { open, shown, visit } from '../browser.mjs';
import { assertReadable, cellOf, functionsOf, located, nanos, rowsOf, settles } from '../reading.mjs';
import { CPU } from '../seed.mjs';

export async function checkExplore({ browser, server, seeded }) {
  const page = await open(browser);
  await visit(page, server.address, { view: 'explore', query: `${CPU}{}`, from: seeded.start, to: seeded.end });
  await page.locator('[data-testid="explore-detail"][data-state="ready"]').waitFor({ state: 'attached' });
  assertEqual(await page.getByTestId('explore-coverage').getAttribute('data-value'), '3', 'services whose functions are added up');
  const selection = (query) => ({ query, startUnixNano: nanos(seeded.start), endUnixNano: nanos(seeded.end) });
  const all = await functionsOf(server, selection(`${CPU}{}`));

  const services = await rowsOf(page, 'explore-services');
  assertEqual(services.map((row) => row.name).sort(), ['api', 'deep', 'web'], 'the services');
  const totals = [];
  for (const { name, cells } of services) {
    const cell = cellOf({ cells }, 'total');
    const { total } = await functionsOf(server, selection(`${CPU}{service_name="${name}"}`));
    assertEqual(cell.value, total, `the total of ${name}`);
    assertReadable(cell.text, total, `the total of ${name}`);
    totals.push(Number(total));
  }
  assertEqual(totals, [...totals].sort((a, b) => b - a), 'services by cost');
  assertEqual(await page.locator('[data-testid="explore-services"] .sparkline polyline').count(), services.length, 'sparklines');

  assertEqual(await page.getByTestId('functions-total').getAttribute('data-value'), all.total, 'the total of all functions');
  const functions = await rowsOf(page, 'explore-functions');
  assert(functions.length > 10, `${functions.length} functions are in sight`);
  const most = [...all.byName].sort(([, a], [, b]) => Number(b.self) - Number(a.self)).slice(0, functions.length);
  functions.forEach(({ name, cells }, at) => {
    const value = (column) => cellOf({ cells }, column).value;
    assertEqual([value('self'), value('total')], [all.byName.get(name)?.self, all.byName.get(name)?.total], `self and total of ${name}`);
    assertEqual(value('self'), most[at][1].self, `the function at ${at}`);
  });

  const header = page.locator('[data-testid="explore-services"] th button', { hasText: 'Service' });
  await header.click();
  const names = (await rowsOf(page, 'explore-services')).map((row) => row.name);
  assertEqual(names, ['api', 'deep', 'web'], 'services by name');
  await page.locator('[data-testid="explore-services"] a', { hasText: 'web' }).click();
  await shown(page, 'single');
  await located(page, 'view', 'single');
  await settles(page, 'total', (await functionsOf(server, selection(`${CPU}{service_name="web"}`))).total);
  await page.goBack();
  await shown(page, 'explore');
  await page.leave();
}
