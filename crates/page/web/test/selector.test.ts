import { describe, expect, it } from 'vitest';
import { parseSelector, printSelector, selectorOf, serviceOf, withService } from '../src/selector';

describe('selectors', () => {
  const check = (text: string) => expect(printSelector(parseSelector(text)!)).toBe(text);

  it('are printed as they were read', () => {
    check('process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name="api"}');
    check('{a="1", b!="2", c=~"x|y", d!~".*"}');
    check('t{}');
    check('t{"a label"="quote \\" backslash \\\\ line \\n"}');
  });

  it('may be a type alone', () => {
    expect(parseSelector('a:b:c:d:e')).toEqual({ type: 'a:b:c:d:e', matchers: [] });
  });

  it('may have spaces and a last comma', () => {
    expect(printSelector(parseSelector(' t { a = "1" , b="2", } ')!)).toBe('t{a="1", b="2"}');
  });

  it('are nothing else', () => {
    for (const text of ['t{', 't{a}', 't{a="1" b="2"}', 't{a=1}', 't{="1"}']) expect(parseSelector(text)).toBeUndefined();
  });

  it('name their service', () => {
    const selector = parseSelector('t{pod="p", service_name="a"}')!;
    expect(serviceOf(selector)).toBe('a');
    expect(printSelector(withService(selector, 'b'))).toBe('t{service_name="b", pod="p"}');
    expect(printSelector(withService(selector, ''))).toBe('t{pod="p"}');
    expect(selectorOf('t', 'a"b')).toBe('t{service_name="a\\"b"}');
  });
});
