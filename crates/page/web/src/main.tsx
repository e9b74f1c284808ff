import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Shell } from './parts/shell';
import { PageProvider } from './parts/page';
import { ThemeProvider } from './parts/theme';
import './style.css';

// A library of Grafana's packages would advertise itself in the console.
(globalThis as { __i18next_supportNoticeShown?: boolean }).__i18next_supportNoticeShown = true;

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <ThemeProvider>
      <PageProvider>
        <Shell />
      </PageProvider>
    </ThemeProvider>
  </StrictMode>
);
