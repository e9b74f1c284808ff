// Which rows of a long table are drawn.

/** Pixels. */
export const ROW_HEIGHT = 30;
/** Rows drawn above and below those in sight. */
const MARGIN = 8;

/** The rows from `first` on and before `end` that are drawn, of a table of `rows`, scrolled by `top` and `height` pixels high. */
export function windowOf(rows: number, top: number, height: number): { first: number; end: number } {
  // A table that has become shorter is not scrolled beyond its end.
  const reached = Math.max(0, Math.min(top, rows * ROW_HEIGHT - height));
  const first = Math.max(0, Math.floor(reached / ROW_HEIGHT) - MARGIN);
  return { first, end: Math.min(rows, Math.ceil((reached + height) / ROW_HEIGHT) + MARGIN) };
}
