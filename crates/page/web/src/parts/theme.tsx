// Light or dark: as the system has it, until one is chosen.
import { createContext, useContext, useEffect, useState, type ReactNode } from 'react';

export type Theme = 'light' | 'dark';
const KEPT = 'flamestore.theme';

const ThemeContext = createContext<{ theme: Theme; toggle(): void }>({ theme: 'light', toggle() {} });

export const useTheme = () => useContext(ThemeContext);

export function ThemeProvider({ children }: { children: ReactNode }) {
  const [chosen, setChosen] = useState(() => localStorage.getItem(KEPT));
  const [system, setSystem] = useState<Theme>(() => (darkQuery().matches ? 'dark' : 'light'));
  const theme: Theme = chosen === 'light' || chosen === 'dark' ? chosen : system;

  useEffect(() => {
    const changed = () => setSystem(darkQuery().matches ? 'dark' : 'light');
    const list = darkQuery();
    list.addEventListener('change', changed);
    return () => list.removeEventListener('change', changed);
  }, []);
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
  }, [theme]);

  const toggle = () => {
    const next = theme === 'light' ? 'dark' : 'light';
    localStorage.setItem(KEPT, next);
    setChosen(next);
  };
  return <ThemeContext.Provider value={{ theme, toggle }}>{children}</ThemeContext.Provider>;
}

const darkQuery = () => matchMedia('(prefers-color-scheme: dark)');
