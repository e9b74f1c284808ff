import { defineConfig } from 'vite';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  esbuild: { jsx: 'automatic' },
  build: { chunkSizeWarningLimit: 8192, reportCompressedSize: false },
  resolve: {
    alias: [
      { find: '@grafana/assistant', replacement: here('src/assistant.js') },
      { find: /^monaco-editor.*/, replacement: here('src/absent.js') },
      { find: '@monaco-editor/react', replacement: here('src/absent.js') },
    ],
  },
});
