import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const server = process.env.FLAMESTORE ?? 'http://127.0.0.1:4040';

// Where the built page may be put, for looking at it without changing what is committed.
const outDir = process.env.PAGE_DIST ?? here('../dist');

export default defineConfig({
  // The page works below any prefix.
  base: './',
  build: {
    outDir,
    emptyOutDir: true,
    target: 'es2022',
    sourcemap: false,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 4096,
  },
  esbuild: { jsx: 'automatic' },
  resolve: {
    alias: [
      // What the flame graph's packages import and no flame graph shows.
      { find: '@grafana/assistant', replacement: here('src/flame/absent/assistant.ts') },
      { find: /^monaco-editor.*/, replacement: here('src/flame/absent/editor.ts') },
      { find: '@monaco-editor/react', replacement: here('src/flame/absent/editor.ts') },
    ],
  },
  server: { proxy: Object.fromEntries(['/flamestore.v1', '/querier.v1', '/api/v1'].map((path) => [path, server])) },
  test: { include: ['test/**/*.test.ts'] },
});
