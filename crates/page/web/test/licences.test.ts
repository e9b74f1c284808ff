import { describe, expect, it } from 'vitest';
import { homepageOf, isPermissive, licenseOf, listOf, packageFolder, termsFiles } from '../src/parts/licences/collect';

describe('licences', () => {
  it('are permissive where a choice is', () => {
    expect(['MIT', '(MPL-2.0 OR Apache-2.0)', 'MIT AND ISC', 'BSD-3-Clause'].every(isPermissive)).toBe(true);
    expect(['', 'GPL-3.0', 'MIT AND GPL-3.0', 'UNLICENSED', 'SEE LICENSE IN x'].some(isPermissive)).toBe(false);
  });

  it('are those of the innermost package', () => {
    expect(packageFolder('/w/node_modules/react/index.js')).toBe('/w/node_modules/react');
    expect(packageFolder('\0/w/node_modules/@a/b/node_modules/c/d.js?commonjs-module')).toBe('/w/node_modules/@a/b/node_modules/c');
    expect(packageFolder('/w/node_modules/@a/b/x.js')).toBe('/w/node_modules/@a/b');
    expect(packageFolder('/w/src/main.tsx')).toBeNull();
  });

  it('are read of all files of terms', () => {
    const names = ['index.js', 'NOTICE', 'LICENSE.md', 'license.js', 'LICENCE-MIT', 'licenses', 'COPYING'];
    expect(termsFiles(names)).toEqual(['COPYING', 'LICENCE-MIT', 'LICENSE.md', 'NOTICE']);
  });

  it('are said in old forms too', () => {
    expect(licenseOf({ license: 'MIT' })).toBe('MIT');
    expect(licenseOf({ license: { type: 'BSD-2-Clause' } })).toBe('BSD-2-Clause');
    expect(licenseOf({ licenses: [{ type: 'MIT' }, { type: 'GPL-2.0' }] })).toBe('MIT OR GPL-2.0');
    expect(licenseOf({})).toBe('');
    expect(homepageOf({ repository: { url: 'git+https://github.com/a/b.git' } })).toBe('https://github.com/a/b');
    expect(homepageOf({ repository: 'a/b' })).toBe('https://github.com/a/b');
    expect(homepageOf({})).toBe('');
  });

  it('are listed by name, each text once', () => {
    const one = (name: string, text: string | null) => ({ name, version: '1.0.0', license: 'MIT', homepage: '', text });
    const list = listOf([one('b', 'T'), one('a', 'T'), one('c', null)]);
    expect(list.texts).toEqual(['T']);
    expect(list.packages.map(({ name, text }) => [name, text])).toEqual([['a', 0], ['b', 0], ['c', null]]);
    expect(() => listOf([{ ...one('x', null), license: 'GPL-3.0' }])).toThrow('x 1.0.0 (GPL-3.0)');
  });
});
