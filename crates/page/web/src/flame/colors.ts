// Colours of exported flame graphs: by package, and by how much a share changed, as on the page.

/** Grey where nothing changed, red at twice the share and more, green where all is gone. */
const CHANGE = { less: [0, 170, 0], same: [148, 142, 142], more: [200, 0, 0] } as const;

/** The colour of a node whose share of all changed. */
export function colorOfChange(before: number, after: number, allBefore: number, allAfter: number): string {
  if (allBefore === 0 || allAfter === 0) return rgb(CHANGE.same);
  const [from, to] = [before / allBefore, after / allAfter];
  if (from === 0) return rgb(to === 0 ? CHANGE.same : CHANGE.more);
  const change = Math.max(-1, Math.min(1, to / from - 1));
  const end = change < 0 ? CHANGE.less : CHANGE.more;
  return rgb(CHANGE.same.map((part, index) => Math.round(part + (end[index]! - part) * Math.abs(change))));
}

const rgb = (parts: readonly number[]) => `rgb(${parts.join(',')})`;

/** The colour of a function, one for all of its package. */
export function colorOfPackage(name: string): string {
  return `hsl(${hash(packageOf(name)) % 360},55%,72%)`;
}

/** What stands before the last part of a name: `net/http.` of `net/http.(*Server).Serve`, `a::b` of `a::b::c`. */
export function packageOf(name: string): string {
  const bare = name.replace(/<.*>|\(.*\)/g, '');
  const rust = bare.lastIndexOf('::');
  if (rust > 0) return bare.slice(0, rust);
  const slash = bare.lastIndexOf('/') + 1;
  const dot = bare.indexOf('.', slash);
  return dot < 0 ? bare.slice(0, slash) || bare : bare.slice(0, dot);
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193) >>> 0;
  return value;
}
