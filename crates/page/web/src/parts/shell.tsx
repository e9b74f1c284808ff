// What is around every view: the name, the navigation, light and dark, the settings.
import { Suspense, lazy, useEffect, useState, type ComponentType } from 'react';
import { INITIAL, type View } from '../state';
import { usePage } from './page';
import { ServicesProvider } from './services';
import { SettingsPanel } from './settings';
import { useTheme } from './theme';

const NAMES: ReadonlyArray<readonly [View, string]> = [
  ['single', 'Single'],
  ['comparison', 'Comparison'],
  ['diff', 'Diff'],
  ['explore', 'Explore'],
  ['sql', 'SQL'],
  ['profiles', 'Profiles'],
];

// Each view is loaded when it is first shown.
const LOADED: Record<View, ComponentType> = {
  single: lazy(() => import('../views/single')),
  comparison: lazy(() => import('../views/comparison')),
  diff: lazy(() => import('../views/diff')),
  explore: lazy(() => import('../views/explore')),
  sql: lazy(() => import('../views/sql')),
  profiles: lazy(() => import('../views/profiles')),
};

const Licences = lazy(() => import('./licences'));

export function Shell() {
  const { state, set, refresh } = usePage();
  const [settings, setSettings] = useState(false);
  const [licences, setLicences] = useState(false);
  const Shown = LOADED[state.view];
  const applied = () => {
    setSettings(false);
    // Another tenant has other services.
    set({ query: '', left: INITIAL.left, right: INITIAL.right, focus: [], sandwich: '' });
    refresh();
  };
  const title = NAMES.find(([view]) => view === state.view)?.[1] ?? '';
  useEffect(() => {
    document.title = `${title} – Flamestore`;
  }, [title]);
  return (
    <>
      <a className="skip" href="#view">
        Skip to the view
      </a>
      <header className="top">
        <span className="brand">
          <img src="./flame.svg" alt="" width="18" height="18" /> Flamestore
        </span>
        <nav aria-label="Views">
          {NAMES.map(([view, name]) => (
            <ViewLink key={view} view={view} name={name} />
          ))}
        </nav>
        <span className="spring" />
        <ThemeButton />
        <button aria-expanded={settings} onClick={() => setSettings(!settings)}>
          Settings
        </button>
      </header>
      {settings && <SettingsPanel applied={applied} />}
      <main id="view" tabIndex={-1}>
        <ServicesProvider>
          <Suspense fallback={<div className="loading" />}>
            <Shown key={state.view} />
          </Suspense>
        </ServicesProvider>
      </main>
      <footer>
        Flamestore
        <button className="plain" onClick={() => setLicences(true)}>
          Licences
        </button>
      </footer>
      {licences && (
        <Suspense fallback={null}>
          <Licences onClose={() => setLicences(false)} />
        </Suspense>
      )}
    </>
  );
}

function ViewLink({ view, name }: { view: View; name: string }) {
  const { state, set, href } = usePage();
  const change = { view, focus: [], sandwich: '' };
  return (
    <a
      href={href(change)}
      aria-current={state.view === view ? 'page' : undefined}
      onClick={(event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
        event.preventDefault();
        set(change);
      }}
    >
      {name}
    </a>
  );
}

function ThemeButton() {
  const { theme, toggle } = useTheme();
  return <button onClick={toggle}>{theme === 'light' ? 'Dark' : 'Light'}</button>;
}
