// SQL: statements, their rows, graphs, how far they are, and how they are cancelled.
import { readFileSync } from 'node:fs';
import { assert, assertEqual, eventually } from '../assert.mjs';
import { open, shown, visit } from '../browser.mjs';
import { download } from '../exports.mjs';
import { colours, drawn, located, rowsOf } from '../reading.mjs';
import { CPU } from '../seed.mjs';
import { running } from '../server.mjs';

const STATEMENT = "SELECT service_name, count(*) AS profiles, sum(total) AS cost FROM profiles WHERE profile_type = '" + CPU + "' GROUP BY service_name ORDER BY cost DESC";
/** Counts more pairs than anybody waits for. */
const ENDLESS = 'SELECT count(*) FROM samples JOIN generate_series(1, 1000000000000) number ON samples.value + number.value < 0';

async function rows(server, statement) {
  const answer = await fetch(`${server.address}/api/v1/sql`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ query: statement }) });
  assert(answer.ok, `${statement}: ${answer.status}`);
  return answer.json();
}

export async function checkSql({ browser, server, seeded }) {
  const page = await open(browser);
  await visit(page, server.address, { view: 'sql' }, 'empty');
  await write(page, STATEMENT);
  await page.keyboard.press('Control+Enter');
  await located(page, 'sql', STATEMENT);
  await shown(page, 'sql');
  const expected = await rows(server, STATEMENT);
  const read = async () => (await rowsOf(page, 'sql-table')).map(({ cells }) => cells.map((cell) => cell.value));
  assertEqual(await read(), expected.rows.map((row) => row.map(String)), 'the rows of a statement');
  const texts = (await rowsOf(page, 'sql-table')).map(({ cells }) => cells.map((cell) => cell.text.replaceAll(',', '')));
  assertEqual(texts, expected.rows.map((row) => row.map(String)), 'the rows as they are shown');
  assertEqual(await page.getByTestId('sql-count').getAttribute('data-value'), String(expected.rows.length), 'their number');
  await page.locator('[data-testid="sql-table"] th button', { hasText: 'service_name' }).click();
  assertEqual((await read()).map(([name]) => name), ['api', 'deep', 'web'], 'the rows by name');
  const csv = readFileSync(await download(page, () => page.getByTestId('sql-csv').click()), 'utf8').trim().split('\n');
  assertEqual(csv, ['service_name,profiles,cost', ...expected.rows.map((row) => row.join(','))], 'the file of CSV');

  await examples(page, seeded);
  await cancelling(page, server);
  await page.leave();
  await refusal(browser, server);
}

/** Puts a statement into the editor. */
async function write(page, statement) {
  await page.getByTestId('sql-editor').click();
  await page.keyboard.press('Control+a');
  // as a paste: the editor would close brackets that are typed
  await page.keyboard.insertText(statement);
}

/** Every example is answered; those of a flame graph are drawn. */
async function examples(page, { start, end }) {
  const url = new URL(page.url());
  url.search = String(new URLSearchParams({ view: 'sql', query: `${CPU}{service_name="api"}`, from: start, to: end }));
  await page.goto(url.href);
  const menu = page.getByTestId('sql-examples');
  await eventually(() => menu.isEnabled(), 'there are examples');
  const count = (await menu.locator('option').count()) - 1;
  let graphs = 0;
  for (let at = 0; at < count; at++) {
    await menu.selectOption(String(at));
    await page.getByTestId('sql-run').click();
    await page.locator('[data-testid="view-sql"]:is([data-state="ready"], [data-state="error"])').waitFor();
    const title = await menu.locator(`option[value="${at}"]`).innerText();
    assert((await page.getByTestId('error').count()) === 0, `the example ${title}: ${await page.getByTestId('error').allInnerTexts()}`);
    assert(Number(await page.getByTestId('sql-count').getAttribute('data-value')) > 0, `the example ${title} has rows`);
    if (!(await page.getByTestId('sql-graph').isVisible())) continue;
    graphs += 1;
    await drawn(page);
    assert((await colours(page)).coloured > 1000, `the example ${title} is drawn`);
  }
  assert(graphs > 0, 'an example is a flame graph');
  console.log(`  ${count} examples are answered, ${graphs} as a flame graph`);
}

/** What takes long tells how far it is. Cancelling ends the query on the server. */
async function cancelling(page, server) {
  await eventually(async () => (await running(server)) === 0, 'nothing runs');
  await write(page, ENDLESS);
  await page.keyboard.press('Control+Enter');
  await eventually(async () => (await running(server)) > 0, 'the statement runs');
  const progress = page.getByTestId('progress');
  await progress.waitFor();
  const far = async () => (await progress.getAttribute('data-value')).split(' ').map(Number);
  await eventually(async () => (await far())[0] === (await far())[1], 'the statement has read all segments');
  const [done, all] = await far();
  assert(done > 0 && (await progress.innerText()).startsWith(`${done} of ${all} segments, `), `the page says so of ${done} and ${all}`);
  await page.getByTestId('cancel').first().click();
  await page.getByText('Cancelled').waitFor();
  await eventually(async () => (await running(server)) === 0, 'the server is free again');
}

async function refusal(browser, server) {
  const page = await open(browser);
  const wrong = 'SELECT nothing FROM nowhere';
  await visit(page, server.address, { view: 'sql', sql: wrong }, 'error');
  const answer = await fetch(`${server.address}/api/v1/sql`, { method: 'POST', body: wrong, headers: { 'content-type': 'text/plain' } });
  const { message } = await answer.json();
  const told = await page.getByTestId('error').first().innerText();
  assert(told.includes(message), `the page says ${told}, the server ${message}`);
  await page.leave(/status of 4/);
}
