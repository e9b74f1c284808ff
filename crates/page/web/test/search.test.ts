import { describe, expect, it } from 'vitest';
import { exactly, matches } from '../src/flame/search';

describe('the search', () => {
  const names = ['main', 'std::vec<int>', 'Main.run', 'a(b'];
  const check = (search: string, expected: string[] | undefined) => {
    const found = matches(names, search);
    expect(found && [...found]).toEqual(expected);
  };

  it('finds text and regular expressions, without regard to case', () => {
    check('main', ['main', 'Main.run']);
    check('^main$', ['main']);
    check('vec|run', ['std::vec<int>', 'Main.run']);
  });

  it('finds what is no regular expression as it is', () => {
    check('a(b', ['a(b']);
  });

  it('finds all names exactly', () => {
    for (const name of names) check(exactly(name), [name]);
  });

  it('is none where it is empty', () => {
    check('', undefined);
  });
});
