// What a view exports, read by others than the page.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assert, assertEqual } from './assert.mjs';
import { functionsOf } from './reading.mjs';

const folder = mkdtempSync(join(tmpdir(), 'flamestore-page-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** Clicks on what downloads, and gives the path of the file. */
export async function download(page, click) {
  const [file] = await Promise.all([page.waitForEvent('download'), click()]);
  const path = join(folder, `${Date.now()}-${file.suggestedFilename()}`);
  await file.saveAs(path);
  return path;
}

/** What `go tool pprof` says of a file: the total, and self and total of functions; undefined where there is no Go. */
export function goPprof(path) {
  try {
    execFileSync('go', ['version'], { stdio: 'ignore' });
  } catch {
    return undefined;
  }
  const text = execFileSync('go', ['tool', 'pprof', '-top', '-nodecount=0', '-nodefraction=0', '-unit=ns', path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  const functions = new Map();
  for (const line of text.split('\n')) {
    const match = /^\s*(\d+)(?:ns)?\s+\S+%\s+\S+%\s+(\d+)(?:ns)?\s+\S+%\s+(.*)$/.exec(line);
    if (match) functions.set(match[3].trim(), { self: match[1], total: match[2] });
  }
  return functions;
}

/** Every form that a flame graph can be saved in holds what the API answers. */
export async function checkExports(page, server, selection) {
  const answered = await functionsOf(server, selection);
  const save = (form) =>
    download(page, async () => {
      const menu = page.getByTestId('export').first();
      if (!(await page.getByTestId(`export-${form}`).first().isVisible())) await menu.click();
      await page.getByTestId(`export-${form}`).first().click();
    });

  const functions = goPprof(await save('pprof'));
  if (functions) {
    assertEqual([...functions.keys()].sort(), [...answered.byName.keys()].sort(), 'the functions of the pprof');
    for (const [name, expected] of answered.byName) assertEqual(functions.get(name), expected, `${name} in the pprof`);
    console.log(`  go tool pprof reads ${functions.size} functions`);
  } else {
    console.log('  there is no Go: the exported pprof is not opened');
  }

  const folded = readFileSync(await save('folded'), 'utf8').trim().split('\n');
  const sum = folded.reduce((all, line) => all + BigInt(line.slice(line.lastIndexOf(' ') + 1)), 0n);
  assertEqual(String(sum), answered.total, 'the sum of the folded text');

  const json = JSON.parse(readFileSync(await save('json'), 'utf8'));
  assertEqual(String(json.flamebearer.numTicks), answered.total, 'the total of the JSON');

  const svg = readFileSync(await save('svg'), 'utf8');
  assert(svg.startsWith('<svg') && svg.includes('work.slow'), 'the SVG has the functions');
  const fine = await page.evaluate((text) => !new DOMParser().parseFromString(text, 'image/svg+xml').querySelector('parsererror'), svg);
  assert(fine, 'the SVG is well-formed');

  const png = readFileSync(await save('png'));
  assertEqual(png.subarray(1, 4).toString(), 'PNG', 'the first bytes of the PNG');
  assert(png.length > 5000, `the PNG has ${png.length} bytes`);
}

/** The forms of a diff hold both sides. */
export async function checkDiffExports(page, server, request) {
  const answered = await server.ask('CompareFunctions', request);
  await page.getByTestId('export').click();
  const folded = readFileSync(await download(page, () => page.getByTestId('export-folded').click()), 'utf8').trim().split('\n');
  const sums = [0n, 0n];
  for (const line of folded) line.split(' ').slice(-2).forEach((value, side) => (sums[side] += BigInt(value)));
  assertEqual(sums.map(String), [answered.totalBefore, answered.totalAfter], 'the sums of the folded text');
}
