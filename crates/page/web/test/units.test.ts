import { describe, expect, it } from 'vitest';
import { formatChange, formatCount, formatShare, formatValue, nameOfType, unitOf } from '../src/units';

describe('values', () => {
  it('have the largest unit that they reach', () => {
    expect(formatValue(0, 'nanoseconds')).toBe('0 ns');
    expect(formatValue(1_250_000_000, 'nanoseconds')).toBe('1.25 s');
    expect(formatValue(90e9, 'nanoseconds')).toBe('1.50 min');
    expect(formatValue(12, 'milliseconds')).toBe('12 ms');
    expect(formatValue(12.5 * 1024 * 1024, 'bytes')).toBe('12.5 MiB');
    expect(formatValue(45_600, 'count')).toBe('45.6 k');
    expect(formatValue(-2_000_000, 'count')).toBe('-2 M');
    expect(formatValue(7, 'goroutines')).toBe('7');
  });
});

describe('shares', () => {
  it('are of a whole', () => {
    expect(formatShare(1, 8)).toBe('12.5 %');
    expect(formatShare(1, 300)).toBe('0.33 %');
    expect(formatShare(1, 1e9)).toBe('< 0.01 %');
    expect(formatShare(0, 0)).toBe('0.00 %');
  });
});

describe('changes', () => {
  it('are in per cent of what was before', () => {
    expect(formatChange(1, 2)).toBe('+100 %');
    expect(formatChange(0.25, 0.5)).toBe('+100 %');
    expect(formatChange(100, 105)).toBe('+5.0 %');
    expect(formatChange(4, 1)).toBe('-75 %');
    expect(formatChange(100, 100.01)).toBe('0 %');
    expect(formatChange(3, 3)).toBe('0 %');
  });

  it('are words where one side has nothing', () => {
    expect(formatChange(0, 5)).toBe('new');
    expect(formatChange(5, 0)).toBe('removed');
    expect(formatChange(0, 0)).toBe('0 %');
  });
});

describe('types', () => {
  it('have a unit and a name', () => {
    expect(unitOf('process_cpu:cpu:nanoseconds:cpu:nanoseconds')).toBe('nanoseconds');
    expect(nameOfType('process_cpu:cpu:nanoseconds:cpu:nanoseconds')).toBe('cpu (process_cpu)');
    expect(nameOfType('goroutine:goroutine:count::')).toBe('goroutine');
  });
});

describe('counts', () => {
  it('have their thousands apart', () => {
    expect([0, 999, 1000, 1234567].map(formatCount)).toEqual(['0', '999', '1,000', '1,234,567']);
  });
});
