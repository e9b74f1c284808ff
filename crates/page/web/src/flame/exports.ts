// A frame in the JSON that other programs read.
import { sidesOf, type Frame } from './frame';

/** A frame in the form of Pyroscope's JSON exports, which Pyroscope, Grafana and flame graph viewers open. */
export interface Flamebearer {
  version: 1;
  flamebearer: { names: string[]; levels: number[][]; numTicks: number; maxSelf: number };
  metadata: { format: 'single' | 'double'; units: string; name: string; spyName: string; sampleRate: number };
  leftTicks?: number;
  rightTicks?: number;
}

export function flamebearer(frame: Frame, name: string, unit: string): Flamebearer {
  const sides = sidesOf(frame);
  const names: string[] = [];
  const numbers = new Map<string, number>();
  const numberOf = (label: string) => {
    let number = numbers.get(label);
    if (number === undefined) numbers.set(label, (number = names.push(label) - 1));
    return number;
  };
  const levels: number[][] = [];
  // How far each level reaches, and where the next child of a row begins, for every side.
  const reached: number[][] = [];
  const begins: number[][] = [];
  frame.levels.forEach((level, row) => {
    const values = (levels[level] ??= []);
    const end = (reached[level] ??= frame.totals.map(() => 0));
    const begin = (begins[level] ??= frame.totals.map(() => 0));
    const below = (begins[level + 1] ??= frame.totals.map(() => 0));
    for (let side = 0; side < sides; side++) {
      const total = frame.totals[side]![row]!;
      values.push(begin[side]! - end[side]!, total, frame.selves[side]![row]!);
      below[side] = begin[side]!;
      begin[side]! += total;
      end[side] = begin[side]!;
    }
    values.push(numberOf(frame.labels[row]!));
  });
  const totals = frame.totals.map((column) => column[0] ?? 0);
  return {
    version: 1,
    flamebearer: { names, levels, numTicks: totals.reduce((sum, each) => sum + each, 0), maxSelf: maxSelf(frame) },
    metadata: { format: sides === 2 ? 'double' : 'single', units: unit, name, spyName: '', sampleRate: sampleRateOf(unit) },
    ...(sides === 2 ? { leftTicks: totals[0]!, rightTicks: totals[1]! } : {}),
  };
}

/** Viewers divide by it what is in samples. */
const sampleRateOf = (unit: string) => (unit === 'nanoseconds' ? 1_000_000_000 : 100);

function maxSelf(frame: Frame): number {
  let max = 0;
  for (const column of frame.selves) for (const self of column) max = Math.max(max, self);
  return max;
}
