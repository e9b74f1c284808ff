// Does the web page show what the API answers?
//   node src/main.mjs FLAMESTORE DIST CHROMIUM [CHECK…]
// Seeds a server in memory and drives every view of its page; then the demo, whose first view is timed and pictured.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { assert } from './assert.mjs';
import { launch } from './browser.mjs';
import { checkComparison } from './views/comparison.mjs';
import { checkDemo } from './views/demo.mjs';
import { checkDiff } from './views/diff.mjs';
import { checkExplore } from './views/explore.mjs';
import { checkFleet } from './views/fleet.mjs';
import { checkProfiles } from './views/profiles.mjs';
import { checkSingle } from './views/single.mjs';
import { checkSql } from './views/sql.mjs';
import { checkAround } from './views/around.mjs';
import { seed } from './seed.mjs';
import { start } from './server.mjs';

const [flamestore, dist, chromium, ...chosen] = process.argv.slice(2);
const BUNDLE_BYTES_MAX = 1.5e6;

/** The files below a folder. */
function files(folder) {
  return readdirSync(folder, { recursive: true }).map((name) => join(folder, name)).filter((path) => statSync(path).isFile());
}

function checkSize() {
  const sizes = files(dist).map((path) => gzipSync(readFileSync(path)).length);
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  assert(bytes <= BUNDLE_BYTES_MAX, `the page is ${bytes} bytes with gzip, more than ${BUNDLE_BYTES_MAX}`);
  console.log(`the page is ${(bytes / 1e6).toFixed(2)} MB with gzip`);
}

checkSize();
const server = await start(flamestore, ['serve', '--store', 'memory:', '--flush-interval', '2s']);
const browser = await launch(chromium);
try {
  const seeded = await seed(server);
  const checks = [checkSingle, checkComparison, checkDiff, checkExplore, checkSql, checkProfiles, checkAround, checkDemo, checkFleet];
  for (const check of checks) {
    const name = check.name.slice('check'.length).toLowerCase();
    // a fleet takes minutes to push, and is for those who ask for it
    if (chosen.length > 0 ? !chosen.includes(name) : name === 'fleet') continue;
    const started = performance.now();
    await check({ browser, server, seeded, flamestore });
    console.log(`${name}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
  }
} catch (error) {
  for (const page of browser.contexts().flatMap((context) => context.pages())) {
    console.error(`at ${page.url()}: see failed.png`);
    await page.screenshot({ path: 'failed.png' });
  }
  throw error;
} finally {
  await browser.close();
  await server.stop();
}
