// Values with the unit of their profile type.

/** The unit of the values of a type `name:sample_type:sample_unit:period_type:period_unit`. */
export function unitOf(type: string): string {
  return type.split(':')[2] ?? '';
}

/** What a type is called: `cpu (process_cpu)`. */
export function nameOfType(type: string): string {
  const [name, sampleType] = type.split(':');
  return sampleType === undefined || sampleType === name ? name ?? '' : `${sampleType} (${name})`;
}

type Scale = ReadonlyArray<readonly [factor: number, suffix: string]>;

const NANOSECONDS: Scale = [
  [86_400e9, ' d'],
  [3_600e9, ' h'],
  [60e9, ' min'],
  [1e9, ' s'],
  [1e6, ' ms'],
  [1e3, ' µs'],
  [1, ' ns'],
];
const BYTES: Scale = [
  [1024 ** 5, ' PiB'],
  [1024 ** 4, ' TiB'],
  [1024 ** 3, ' GiB'],
  [1024 ** 2, ' MiB'],
  [1024, ' KiB'],
  [1, ' B'],
];
const COUNT: Scale = [
  [1e12, ' T'],
  [1e9, ' G'],
  [1e6, ' M'],
  [1e3, ' k'],
  [1, ''],
];

const TIME_FACTORS: Record<string, number> = { nanoseconds: 1, microseconds: 1e3, milliseconds: 1e6, seconds: 1e9 };

/** A value as people read it, with three digits or more: `1.25 s`, `12.3 MiB`, `45.6 k`. */
export function formatValue(value: number, unit: string): string {
  const factor = TIME_FACTORS[unit];
  if (factor !== undefined) return scaled(value * factor, NANOSECONDS);
  return scaled(value, unit === 'bytes' ? BYTES : COUNT);
}

function scaled(value: number, scale: Scale): string {
  if (value === 0) return `0${scale.at(-1)![1]}`;
  const size = Math.abs(value);
  const [factor, suffix] = scale.find(([each]) => size >= each) ?? scale.at(-1)!;
  const number = value / factor;
  const digits = Number.isInteger(number) || Math.abs(number) >= 100 ? 0 : Math.abs(number) >= 10 ? 1 : 2;
  return `${number.toFixed(digits)}${suffix}`;
}

/** `12.3 %` of a whole; nothing of nothing is 0 %. */
export function formatShare(part: number, whole: number): string {
  const percent = whole === 0 ? 0 : (part / whole) * 100;
  if (percent !== 0 && Math.abs(percent) < 0.01) return '< 0.01 %';
  return `${percent.toFixed(Math.abs(percent) >= 10 ? 1 : 2)} %`;
}

/** How much `after` is above `before`, in per cent; what is only on one side is `new` or `removed`. */
export function formatChange(before: number, after: number): string {
  if (before === 0) return after === 0 ? '0 %' : 'new';
  if (after === 0) return 'removed';
  const percent = (after / before - 1) * 100;
  const digits = Math.abs(percent) < 10 ? 1 : 0;
  const rounded = percent.toFixed(digits);
  return `${percent > 0 && Number(rounded) !== 0 ? '+' : ''}${Number(rounded) === 0 ? '0' : rounded} %`;
}

/** `12,345`. Without the browser's tables of languages, which take longer to load than all else of a page. */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}
