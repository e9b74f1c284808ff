// Chromium, and what is asked of every page it shows: no request leaves the origin, nothing complains, everybody can read it.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import axe from 'axe-core';
import { chromium } from 'playwright-core';
import { assert } from './assert.mjs';

const SHOTS = process.env.FLAMESTORE_PAGE_SHOTS;

/** Starts the browser at `executablePath`. */
export function launch(executablePath) {
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'], timeout: 60_000 });
}

/** A page of its own, which reports everything that goes wrong in it. */
export async function open(browser, { width = 1280, height = 900, colorScheme = 'light' } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, acceptDownloads: true });
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const complaints = [];
  const outside = [];
  page.on('pageerror', (error) => complaints.push(`${error}\n${error.stack}`));
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(`${message.text()} (${message.location().url})`);
  });
  page.on('request', (request) => {
    const url = new URL(request.url());
    const own = page.url().startsWith('http') ? new URL(page.url()).origin : url.origin;
    if (!['data:', 'blob:'].includes(url.protocol) && url.origin !== own) outside.push(request.url());
  });
  return Object.assign(page, {
    /** Ends the page; fails when it complained of something that `expected` does not name. */
    async leave(expected = /^$/) {
      const found = complaints.filter((complaint) => !expected.test(complaint));
      await context.close();
      assert(found.length === 0, `the page complained: ${found.join('\n')}`);
      assert(outside.length === 0, `the page asked others: ${outside.join(' ')}`);
    },
  });
}

/** Waits until a view shows the answer to what its URL says. */
export async function shown(page, view, state = 'ready') {
  await page.locator(`[data-testid="view-${view}"][data-state="${state}"]`).waitFor();
}

/** Goes to a view of the page at `address`. */
export async function visit(page, address, parameters, state = 'ready') {
  const url = new URL(`${address}/`);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.append(name, String(value));
  await page.goto(url.href);
  await shown(page, parameters.view, state);
}

/** Fails when a rule of accessibility is broken in a serious way. */
export async function scan(page, what) {
  // by the debugger, which the page's policy for scripts does not bind
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const grave = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  const told = grave.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 5).map((node) => node.html.slice(0, 200)).join(' | ')}`);
  assert(grave.length === 0, `${what} is hard to use for some: ${told.join('\n')}`);
  return violations.length;
}

/** Takes a picture of what is shown, where pictures are wanted. */
export async function shoot(page, name) {
  if (!SHOTS) return;
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`), animations: 'disabled' });
}
