// Lists the packages whose code a build contains, with their terms, in `licences.json` beside the page.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Plugin, Rollup } from 'vite';
import { homepageOf, licenseOf, listOf, packageFolder, termsFiles, type PackageFiles } from './collect';

/** Packages of which more than code is passed on, whether or not a module of theirs is bundled. */
export interface LicencesOptions {
  /** Folders of packages, as `node_modules/NAME`. */
  also?: string[];
  /** Files with the text of a licence, by its SPDX name, for packages that have none beside them. */
  texts?: Record<string, string>;
}

/** Fails the build where a bundled package has no permissive licence. */
export function licences({ also = [], texts = {} }: LicencesOptions = {}): Plugin {
  return {
    name: 'licences',
    apply: 'build',
    generateBundle(_options, bundle) {
      const folders = new Set([...also.map((folder) => join(process.cwd(), folder)), ...foldersIn(bundle)]);
      const list = listOf(distinct([...folders].map((folder) => filesOf(folder, texts))));
      const source = JSON.stringify(list, null, 1);
      this.emitFile({ type: 'asset', fileName: 'licences.json', source: `${source}\n` });
    },
  };
}

/** Of what is bundled, all that has code left after unused code was shaken off; styles have none to shake. */
function foldersIn(bundle: Rollup.OutputBundle): Set<string> {
  const folders = new Set<string>();
  for (const output of Object.values(bundle)) {
    if (output.type !== 'chunk') continue;
    for (const [id, { renderedLength }] of Object.entries(output.modules)) {
      const folder = renderedLength > 0 || id.includes('.css') ? packageFolder(id) : null;
      if (folder !== null) folders.add(folder);
    }
  }
  return folders;
}

function filesOf(folder: string, usual: Record<string, string>): PackageFiles {
  const path = join(folder, 'package.json');
  if (!existsSync(path)) throw new Error(`a bundled package has no package.json: ${folder}`);
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  const license = licenseOf(manifest);
  const own = termsFiles(readdirSync(folder)).map((name) => join(folder, name));
  const files = own.length > 0 ? own : Object.entries(usual).flatMap(([name, file]) => (name === license ? [file] : []));
  const texts = files.map((file) => readFileSync(file, 'utf8').trim());
  return {
    name: String(manifest.name),
    version: String(manifest.version),
    license,
    homepage: homepageOf(manifest),
    text: texts.length > 0 ? texts.join('\n\n').replaceAll('\r\n', '\n') : null,
  };
}

/** A package may lie in several folders. */
function distinct(found: PackageFiles[]): PackageFiles[] {
  return [...new Map(found.map((one) => [`${one.name} ${one.version}`, one])).values()];
}
