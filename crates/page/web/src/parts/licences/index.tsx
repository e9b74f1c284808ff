// The packages that the page is made of, with their terms. The list is made when the page is built.
import { useEffect, useRef, useState } from 'react';
import { AnswerState, useAnswer } from '../answer';
import { ApiError } from '../../api/client';
import type { LicenceList } from './collect';
import './licences.css';

async function load(signal: AbortSignal): Promise<LicenceList> {
  const response = await fetch(new URL('licences.json', document.baseURI), { signal });
  const isList = response.ok && response.headers.get('content-type')?.includes('json');
  if (!isList) throw new ApiError('not_found', 'this page has no list of licences: it is made when the page is built', response.status);
  return (await response.json()) as LicenceList;
}

export default function Licences({ onClose }: { onClose(): void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const asked = useAnswer('licences', load);
  useEffect(() => {
    if (dialog.current && !dialog.current.open) dialog.current.showModal();
  }, []);
  const { answer } = asked;
  return (
    <dialog ref={dialog} className="licences" aria-labelledby="licences-title" data-testid="licences" onClose={onClose}>
      <header>
        <h2 id="licences-title">Licences</h2>
        <button onClick={() => dialog.current?.close()}>Close</button>
      </header>
      <p>
        Flamestore is licensed under Apache-2.0. This page also contains code of the packages below, under their own terms.
      </p>
      <AnswerState asked={asked} />
      {answer.state === 'ready' && <List list={answer.value} />}
    </dialog>
  );
}

function List({ list }: { list: LicenceList }) {
  return (
    <ul>
      {list.packages.map(({ name, version, license, homepage, text }) => (
        <li key={`${name} ${version}`} data-name={name}>
          <Terms summary={`${name} ${version}`} license={license} homepage={homepage} text={text === null ? null : list.texts[text] ?? null} />
        </li>
      ))}
    </ul>
  );
}

interface TermsProps {
  summary: string;
  license: string;
  homepage: string;
  text: string | null;
}

function Terms({ summary, license, homepage, text }: TermsProps) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        {summary} <span className="hint">{license}</span>
      </summary>
      {open && (
        <>
          {homepage && <p className="source">{homepage}</p>}
          {text === null ? <p>The package has no text of its licence beside its name, {license}.</p> : <pre tabIndex={0}>{text}</pre>}
        </>
      )}
    </details>
  );
}
