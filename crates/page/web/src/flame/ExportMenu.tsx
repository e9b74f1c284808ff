// The forms that a flame graph can be saved in.
import { useRef, useState } from 'react';
import { download } from '../parts/download';
import { flamebearer } from './exports';
import type { Frame } from './frame';

/** Exports that the server makes, of all that was selected and not of the graph's nodes alone. */
export interface Downloads {
  pprof?: () => Promise<Blob>;
  folded?: () => Promise<Blob>;
}

interface ExportMenuProps {
  frame: Frame;
  /** As it is drawn: inverted or not. */
  shown: Frame;
  name: string;
  unit: string;
  downloads?: Downloads | undefined;
}

const pictures = () => import('./pictures');
const PICTURE_WIDTH = 1400;

export function ExportMenu({ frame, shown, name, unit, downloads }: ExportMenuProps) {
  const menu = useRef<HTMLDetailsElement>(null);
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const json = () => JSON.stringify(flamebearer(frame, name, unit));
  const forms: Array<[id: string, label: string, ending: string, make: (() => Promise<Blob>) | undefined]> = [
    ['pprof', 'pprof', 'pb.gz', downloads?.pprof],
    ['folded', 'Folded text', 'folded.txt', downloads?.folded],
    ['json', 'JSON', 'json', async () => new Blob([json()], { type: 'application/json' })],
    ['svg', 'SVG', 'svg', async () => new Blob([(await pictures()).svg(shown, PICTURE_WIDTH, unit, name)], { type: 'image/svg+xml' })],
    ['png', 'PNG', 'png', async () => (await pictures()).png(shown, PICTURE_WIDTH, unit, name)],
  ];
  const save = async (make: () => Promise<Blob>, ending: string) => {
    setBusy(true);
    setError('');
    try {
      download(await make(), `${name}.${ending}`);
      menu.current?.removeAttribute('open');
    } catch (failed) {
      setError(failed instanceof Error ? failed.message : String(failed));
    } finally {
      setBusy(false);
    }
  };
  return (
    <details className="menu" ref={menu} onKeyDown={(event) => event.key === 'Escape' && menu.current?.removeAttribute('open')}>
      <summary data-testid="export">Export</summary>
      <div className="menu-list">
        {forms.map(([id, label, ending, make]) =>
          make ? (
            <button key={id} data-testid={`export-${id}`} disabled={busy} onClick={() => void save(make, ending)}>
              {label}
            </button>
          ) : null
        )}
        {error !== '' && <span role="alert">{error}</span>}
      </div>
    </details>
  );
}
