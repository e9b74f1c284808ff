// A frame as a picture: SVG and PNG, in the colours of the page.
import { formatChange, formatShare, formatValue } from '../units';
import { colorOfChange, colorOfPackage } from './colors';
import type { Frame } from './frame';

/** A rectangle of a drawn frame, in pixels. */
export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
  label: string;
  title: string;
  fill: string;
}

export const ROW_HEIGHT = 18;
/** What is narrower is not drawn. */
const WIDTH_MIN = 0.4;

/** Where each row of a frame is drawn, the root on top, over a width of `width` pixels. */
export function layout(frame: Frame, width: number, unit: string): Box[] {
  const whole = frame.totals.map((column) => column[0] ?? 0);
  const ticks = whole.reduce((sum, each) => sum + each, 0);
  const boxes: Box[] = [];
  const begins: number[] = [];
  frame.levels.forEach((level, row) => {
    const begin = (begins[level] ??= 0);
    const values = frame.totals.map((column) => column[row]!);
    const value = values.reduce((sum, each) => sum + each, 0);
    begins[level + 1] = begin;
    begins[level] = begin + value;
    const box = { x: ticks === 0 ? 0 : (begin / ticks) * width, width: ticks === 0 ? 0 : (value / ticks) * width };
    if (box.width < WIDTH_MIN) return;
    const label = frame.labels[row]!;
    const fill = values.length === 2 ? colorOfChange(values[0]!, values[1]!, whole[0]!, whole[1]!) : colorOfPackage(label);
    boxes.push({ ...box, y: level * ROW_HEIGHT, height: ROW_HEIGHT, label, title: titleOf(label, values, whole, unit), fill });
  });
  return boxes;
}

function titleOf(label: string, values: number[], whole: number[], unit: string): string {
  const spent = values.map((value, side) => `${formatValue(value, unit)}, ${formatShare(value, whole[side]!)}`);
  if (values.length === 1) return `${label} (${spent[0]})`;
  const change = formatChange(share(values[0]!, whole[0]!), share(values[1]!, whole[1]!));
  return `${label} (${spent.join(' → ')}, ${change})`;
}

const share = (part: number, whole: number) => (whole === 0 ? 0 : part / whole);

const escapeXml = (text: string) =>
  text.replace(/[<>&"\u0000-\u001f]/g, (letter) => (letter < ' ' ? ' ' : `&#${letter.charCodeAt(0)};`));

/** The pixels that a letter of the drawn font takes. */
const LETTER_WIDTH = 6.6;

const lettersIn = (width: number) => Math.floor((width - 6) / LETTER_WIDTH);
const cut = (label: string, letters: number) => (label.length <= letters ? label : `${label.slice(0, letters - 1)}…`);

export function svg(frame: Frame, width: number, unit: string, title: string): string {
  const boxes = layout(frame, width, unit);
  const height = heightOf(boxes) + HEAD_HEIGHT;
  const drawn = boxes.map((box) => {
    const [x, y] = [box.x.toFixed(2), box.y + HEAD_HEIGHT];
    const letters = lettersIn(box.width);
    const text = letters < 3 ? '' : `<text x="${(box.x + 3).toFixed(2)}" y="${y + 13}">${escapeXml(cut(box.label, letters))}</text>`;
    const rect = `<rect x="${x}" y="${y}" width="${box.width.toFixed(2)}" height="${box.height - 1}" fill="${box.fill}"/>`;
    return `<g><title>${escapeXml(box.title)}</title>${rect}${text}</g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="monospace" font-size="11">`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    `<text x="4" y="15" font-size="12">${escapeXml(title)}</text>`,
    ...drawn,
    `</svg>\n`,
  ].join('\n');
}

const HEAD_HEIGHT = 24;
const heightOf = (boxes: readonly Box[]) => boxes.reduce((height, box) => Math.max(height, box.y + box.height), 0);
/** What browsers make a canvas of, at most. */
const PNG_HEIGHT_MAX = 16_000;

export async function png(frame: Frame, width: number, unit: string, title: string): Promise<Blob> {
  const boxes = layout(frame, width, unit);
  const scale = 2;
  const canvas = document.createElement('canvas');
  canvas.width = width * scale;
  canvas.height = Math.min((heightOf(boxes) + HEAD_HEIGHT) * scale, PNG_HEIGHT_MAX);
  const context = canvas.getContext('2d')!;
  context.scale(scale, scale);
  context.fillStyle = '#ffffff';
  context.fillRect(0, 0, width, canvas.height);
  context.font = '12px monospace';
  context.fillStyle = '#000000';
  context.fillText(title, 4, 15);
  context.font = '11px monospace';
  for (const box of boxes) {
    context.fillStyle = box.fill;
    context.fillRect(box.x, box.y + HEAD_HEIGHT, box.width, box.height - 1);
    const letters = lettersIn(box.width);
    context.fillStyle = '#000000';
    if (letters >= 3) context.fillText(cut(box.label, letters), box.x + 3, box.y + HEAD_HEIGHT + 13);
  }
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('the browser drew no picture'))), 'image/png')
  );
}
