// How long a view takes until it is drawn and free to be used, by the page's own clock.

/** Machines of a pipeline may be slow and busy: only what is off by more than this fails. */
export const PATIENCE = 10;

/** Notes when the first view is drawn, and when the page was busy. */
export async function watch(page) {
  await page.addInitScript(() => {
    const noted = (window.noted = { drawn: undefined, tasks: [] });
    new PerformanceObserver((list) => {
      for (const { startTime, duration } of list.getEntries()) noted.tasks.push({ start: startTime, end: startTime + duration });
    }).observe({ type: 'longtask', buffered: true });
    const look = () => {
      const view = document.querySelector('[data-testid^="view-"]');
      const canvas = document.querySelector('canvas[data-testid="flameGraph"]');
      if (view?.dataset.state !== 'ready' || !canvas || canvas.width === 0) return requestAnimationFrame(look);
      requestAnimationFrame(() => requestAnimationFrame(() => (noted.drawn = performance.now())));
    };
    requestAnimationFrame(look);
  });
}

/** The same for the next view that is shown, without a navigation. */
export async function watchNext(page) {
  await page.evaluate(() => {
    const { noted } = window;
    Object.assign(noted, { drawn: undefined, tasks: [] });
    let asked = false;
    const look = () => {
      const { state } = document.querySelector('[data-testid^="view-"]').dataset;
      asked ||= state === 'loading';
      if (!asked || state !== 'ready') return requestAnimationFrame(look);
      requestAnimationFrame(() => requestAnimationFrame(() => (noted.drawn = performance.now())));
    };
    requestAnimationFrame(look);
  });
}

/** Milliseconds from the navigation, and from the end of the flame graph's answer, until the view is drawn and free. */
export async function timed(page, method = 'QueryService/Merge') {
  await page.waitForFunction(() => window.noted.drawn !== undefined);
  // long enough for a long task after the drawing to be seen
  await page.waitForTimeout(1_000);
  return page.evaluate((method) => {
    const { drawn, tasks } = window.noted;
    // a task that begins before the drawing is seen keeps the page busy; what an answer that comes later is worth does not
    const free = tasks.reduce((until, { start, end }) => (start <= until ? Math.max(until, end) : until), drawn);
    const answers = performance.getEntriesByType('resource').filter(({ name }) => name.endsWith(method));
    return { first: drawn, free, afterAnswer: free - Math.max(...answers.map(({ responseEnd }) => responseEnd)) };
  }, method);
}
