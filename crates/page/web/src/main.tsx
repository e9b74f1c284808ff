import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Shell } from './parts/shell';
import { PageProvider } from './parts/page';
import { ThemeProvider } from './parts/theme';
import './style.css';

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <ThemeProvider>
      <PageProvider>
        <Shell />
      </PageProvider>
    </ThemeProvider>
  </StrictMode>
);
