// The comparison: two sides, each with its selector, range, timeline and graph.
import { assert, assertEqual, eventually } from '../assert.mjs';
import { open, visit } from '../browser.mjs';
import { drag, drawn, functionsOf, located, nanos, parameters, settles, valueAt } from '../reading.mjs';
import { CPU } from '../seed.mjs';

const API = `${CPU}{service_name="api"}`;

export async function checkComparison({ browser, server, seeded }) {
  const selection = (query, from, to) => ({ query, startUnixNano: nanos(from), endUnixNano: nanos(to) });
  const total = async (query, from, to) => (await functionsOf(server, selection(query, from, to))).total;
  const { start, middle, end } = seeded;
  const page = await open(browser);
  await visit(page, server.address, { view: 'comparison', query: API, from: start, to: end });
  assertEqual(await valueAt(page, 'total-left'), await total(API, start, middle), 'the total of the first half');
  assertEqual(await valueAt(page, 'total-right'), await total(API, middle, end), 'the total of the second half');
  for (const side of ['left', 'right']) {
    const drawn = await page.getByTestId(`timeline-${side}`).getAttribute('data-total');
    assertEqual(drawn, await total(API, start, end), `the sum of the timeline of ${side}`);
  }
  await drawn(page);
  assertEqual(await page.locator('canvas[data-testid="flameGraph"]').count(), 2, 'flame graphs');

  await drag(page, 'timeline-left', 0.1, 0.3);
  const [leftFrom, leftTo] = await dragged(page, 'left', start, end, [0.1, 0.3]);
  await settles(page, 'total-left', await total(API, leftFrom, leftTo));
  assertEqual(await valueAt(page, 'total-right'), await total(API, middle, end), 'the other side stays');
  await drag(page, 'timeline-right', 0.6, 0.9);
  const [rightFrom, rightTo] = await dragged(page, 'right', start, end, [0.6, 0.9]);
  await settles(page, 'total-right', await total(API, rightFrom, rightTo));
  assertEqual(Number(parameters(page).get('leftFrom')), leftFrom, 'the first drag stays');

  await page.getByTestId('service-right').selectOption('web');
  await settles(page, 'total-right', await total(`${CPU}{service_name="web"}`, rightFrom, rightTo));
  await settles(page, 'total-left', await total(API, leftFrom, leftTo));
  await page.getByTestId('search').fill('work.slow');
  await located(page, 'search', 'work.slow');
  await page.leave();
}

/** The range of a side after a drag, which begins and ends about where the drag did. */
async function dragged(page, side, start, end, parts) {
  await eventually(() => parameters(page).has(`${side}From`), `the drag changes the range of ${side}`);
  const found = ['From', 'To'].map((name) => Number(parameters(page).get(`${side}${name}`)));
  found.forEach((time, at) => {
    const wanted = start + (end - start) * parts[at];
    assert(Math.abs(time - wanted) < (end - start) / 100, `a drag to ${wanted} gives ${time}`);
  });
  return found;
}
