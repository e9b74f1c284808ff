import { describe, expect, it } from 'vitest';
import { graphRequest, listed, nameOf, sortedProfiles } from '../src/views/profiles/list';

const profile = (id: string, time: string, total: string, service = 'api') =>
  listed({
    id,
    timeUnixNano: time,
    durationNano: '15000000000',
    profileType: 'process_cpu:cpu:nanoseconds:cpu:nanoseconds',
    labels: [
      { name: '__session__', value: 'x' },
      { name: 'pod', value: 'p"1' },
      { name: 'service_name', value: service },
    ],
    total,
  });

describe('profiles', () => {
  const rows = [profile('a', '1000000000000000001', '5'), profile('b', '1000000000000000002', '9007199254740993', 'web')];

  it('have their labels apart from the service', () => {
    expect(rows[0]).toMatchObject({ service: 'api', labels: 'pod="p\\"1"', total: 5n, durationNano: 15e9 });
    expect(listed({ id: 'x', profileType: 't' })).toMatchObject({ service: '', labels: '', total: 0n, time: '0' });
  });

  it('are sorted to the nanosecond, newest first where they are equal', () => {
    const ids = (key: string, falling: boolean) => sortedProfiles(rows, key, falling).map(({ id }) => id);
    expect(ids('time', true)).toEqual(['b', 'a']);
    expect(ids('time', false)).toEqual(['a', 'b']);
    expect(ids('total', false)).toEqual(['a', 'b']);
    expect(ids('service', true)).toEqual(['b', 'a']);
    expect(ids('duration', true)).toEqual(['b', 'a']);
    expect(ids('duration', false)).toEqual(['b', 'a']);
  });

  it('are asked for by id, in the millisecond they were taken in', () => {
    expect(graphRequest({ id: 'ab', time: '1700000000123456789' }, 't', 10)).toMatchObject({
      start: '1700000000123',
      end: '1700000000124',
      profileIdSelector: ['ab'],
      labelSelector: '{}',
    });
  });

  it('are saved under their service and moment', () => {
    expect(nameOf({ service: 'shop/cart api', time: '1700000000123456789' })).toBe('shop_cart_api-2023-11-14T22_13_20');
    expect(nameOf({ service: '', time: '0' })).toBe('profile-1970-01-01T00_00_00');
  });
});
