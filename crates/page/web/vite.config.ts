import { fileURLToPath } from 'node:url';
import { readFileSync } from 'node:fs';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';
import { licences } from './src/parts/licences/plugin';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const server = process.env.FLAMESTORE ?? 'http://127.0.0.1:4040';

// Where the built page may be put, for looking at it without changing what is committed.
const outDir = process.env.PAGE_DIST ?? here('../dist');

// The icons that the flame graph fetches when it shows them, below `build/img/icons`.
const ICONS = [
  ...['angle-double-down', 'angle-right', 'arrow-down', 'arrow-up', 'copy', 'exclamation-circle', 'eye'],
  ...['plus-circle', 'search', 'times'],
].map((name) => `unicons/${name}.svg`);
ICONS.push('custom/gf-show-context.svg');
// Asked for, and not among the icons of the package: the other way around, it is.
const TURNED = { name: 'unicons/angle-double-up.svg', from: 'unicons/angle-double-down.svg' };

function icons(): Plugin {
  const folder = here('node_modules/@grafana/ui/dist/public/img/icons');
  const pictureOf = (icon: string): string => {
    if (icon === TURNED.name) return pictureOf(TURNED.from).replace('<svg ', '<svg transform="rotate(180)" ');
    return readFileSync(`${folder}/${icon}`, 'utf8');
  };
  const names = [...ICONS, TURNED.name];
  return {
    name: 'icons',
    generateBundle() {
      for (const icon of names) this.emitFile({ type: 'asset', fileName: `build/img/icons/${icon}`, source: pictureOf(icon) });
    },
    configureServer(dev) {
      dev.middlewares.use('/build/img/icons', (request, response, next) => {
        const icon = (request.url ?? '').slice(1);
        if (!names.includes(icon)) return next();
        response.setHeader('content-type', 'image/svg+xml');
        response.end(pictureOf(icon));
      });
    },
  };
}

function chunkOf(module: string): string | undefined {
  if (module.includes('.css')) return undefined;
  if (/node_modules\/(react|react-dom|scheduler)\/|commonjsHelpers|preload-helper/.test(module)) return 'react';
  if (/node_modules\/(@codemirror|@lezer|@marijn|crelt|style-mod|w3c-keyname)\//.test(module)) return 'editor';
  return module.includes('node_modules/') ? 'drawing' : undefined;
}

export default defineConfig({
  // The page works below any prefix.
  base: './',
  plugins: [icons(), licences({ also: ['node_modules/@grafana/ui'], texts: { 'Apache-2.0': here('../../../LICENSE') } })],
  build: {
    outDir,
    emptyOutDir: true,
    target: 'es2022',
    sourcemap: false,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 4096,
    // What others wrote lies in files of its own, which stay as they are when the page changes.
    rollupOptions: { output: { manualChunks: chunkOf } },
  },
  esbuild: { jsx: 'automatic' },
  resolve: {
    alias: [
      // The parts of the flame graph, which the page puts together itself (decision 0041).
      { find: /^#flamegraph\/(.*)$/, replacement: here('node_modules/@grafana/flamegraph/dist/esm') + '/$1.mjs' },
      // What the flame graph's packages import and no flame graph shows.
      { find: '@grafana/assistant', replacement: here('src/flame/absent/assistant.ts') },
      { find: /^monaco-editor.*/, replacement: here('src/flame/absent/editor.ts') },
      // No flame graph shows dates: without the history of all time zones.
      { find: /^moment-timezone$/, replacement: 'moment-timezone/moment-timezone.js' },
      { find: '@monaco-editor/react', replacement: here('src/flame/absent/editor.ts') },
    ],
  },
  server: { proxy: Object.fromEntries(['/flamestore.v1', '/querier.v1', '/api/v1'].map((path) => [path, server])) },
  test: { include: ['test/**/*.test.ts'] },
});
