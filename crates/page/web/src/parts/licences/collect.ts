// Which packages a bundle contains, and under which terms: pure decisions of the plugin beside it.

export interface Package {
  name: string;
  version: string;
  /** An SPDX expression. */
  license: string;
  /** Where it comes from; empty where the package does not say. */
  homepage: string;
  /** The number of its text in `texts`; null where the package has no such file. */
  text: number | null;
}

/** What the page shows: packages by name, each text once. */
export interface LicenceList {
  packages: Package[];
  texts: string[];
}

/** What is read of a package. */
export interface PackageFiles {
  name: string;
  version: string;
  license: string;
  homepage: string;
  /** The licence, and what it wants to be passed on beside it. */
  text: string | null;
}

/** Terms under which the page may pass a package on without passing its own source on. */
const PERMISSIVE = new Set([
  ...['0BSD', 'Apache-2.0', 'BlueOak-1.0.0', 'BSD-2-Clause', 'BSD-3-Clause', 'CC0-1.0', 'ISC', 'MIT', 'MIT-0'],
  ...['Python-2.0', 'Unlicense', 'Zlib'],
]);

/** Whether an SPDX expression leaves a choice that is permissive: any of `OR`, all of `AND`. */
export function isPermissive(expression: string): boolean {
  const bare = expression.replace(/[()]/g, ' ').trim();
  if (bare === '') return false;
  return bare.split(/\s+OR\s+/).some((choice) => choice.split(/\s+AND\s+/).every((id) => PERMISSIVE.has(id.trim())));
}

/** The folder of the package that a module belongs to, with what follows the last `node_modules`; null for our own. */
export function packageFolder(module: string): string | null {
  const path = module.replace(/^\0+/, '').replace(/\?.*$/, '').replaceAll('\\', '/');
  const at = path.lastIndexOf('/node_modules/');
  if (at < 0) return null;
  const start = at + '/node_modules/'.length;
  const parts = path.slice(start).split('/');
  const name = parts[0]?.startsWith('@') ? parts.slice(0, 2) : parts.slice(0, 1);
  return path.slice(0, start) + name.join('/');
}

const TERMS_FILE = /^(licen[cs]e|copying|notice)([-.].*)?$/i;

/** The names among the files of a package that hold its terms, in the order they are shown. */
export function termsFiles(names: readonly string[]): string[] {
  return names.filter((name) => TERMS_FILE.test(name) && !/\.(js|ts|json)$/i.test(name)).sort();
}

/** The SPDX expression in a `package.json`, old forms included. */
export function licenseOf(manifest: { license?: unknown; licenses?: unknown }): string {
  const one = (value: unknown): string =>
    typeof value === 'string' ? value : typeof (value as { type?: unknown })?.type === 'string' ? (value as { type: string }).type : '';
  if (Array.isArray(manifest.licenses)) return manifest.licenses.map(one).join(' OR ');
  return one(manifest.license);
}

/** The address of a package's source in a `package.json`. */
export function homepageOf(manifest: { homepage?: unknown; repository?: unknown }): string {
  const { homepage, repository } = manifest;
  const url = typeof repository === 'string' ? repository : (repository as { url?: unknown } | undefined)?.url;
  const text = typeof homepage === 'string' && homepage !== '' ? homepage : typeof url === 'string' ? url : '';
  const plain = text.replace(/^git\+/, '').replace(/^git:\/\//, 'https://').replace(/^ssh:\/\/git@/, 'https://').replace(/\.git$/, '');
  if (/^https?:\/\//.test(plain)) return plain;
  return /^[\w.-]+\/[\w.-]+$/.test(plain) ? `https://github.com/${plain}` : '';
}

/** The list of packages, sorted; fails on one that is not permissive. */
export function listOf(found: readonly PackageFiles[]): LicenceList {
  const wrong = found.filter(({ license }) => !isPermissive(license));
  if (wrong.length > 0) {
    const names = wrong.map(({ name, version, license }) => `${name} ${version} (${license || 'none'})`);
    throw new Error(`the licence of a bundled package is not permissive: ${names.join(', ')}`);
  }
  const texts: string[] = [];
  const numbers = new Map<string, number>();
  const numberOf = (text: string | null) => {
    if (text === null) return null;
    if (!numbers.has(text)) numbers.set(text, texts.push(text) - 1);
    return numbers.get(text) ?? null;
  };
  const order = (a: PackageFiles, b: PackageFiles) =>
    a.name === b.name ? (a.version < b.version ? -1 : 1) : a.name < b.name ? -1 : 1;
  const packages = [...found].sort(order).map(({ text, ...about }) => ({ ...about, text: numberOf(text) }));
  return { packages, texts };
}
