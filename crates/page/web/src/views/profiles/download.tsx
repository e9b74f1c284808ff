// Saves a profile as it was pushed, with all its sample types.
import { useState } from 'react';
import { query } from '../../api/client';
import type { GetProfileResponse } from '../../api/types';
import { download, fromBase64 } from '../../parts/download';
import { nameOf, type Listed } from './list';

type Named = Pick<Listed, 'id' | 'time' | 'service'>;

/** The pprof of a profile, and the profile with its service where that was not known. */
export async function pprofOf(profile: Named): Promise<{ file: Blob; profile: Named }> {
  const { pprof = '', labels } = await query<GetProfileResponse>('GetProfile', { id: profile.id });
  const service = profile.service || labels?.find(({ name }) => name === 'service_name')?.value || '';
  return { file: new Blob([fromBase64(pprof)], { type: 'application/gzip' }), profile: { ...profile, service } };
}

interface DownloadProps {
  profile: Named;
  label: string;
  isPlain?: boolean;
}

export function Download({ profile, label, isPlain = false }: DownloadProps) {
  const [state, setState] = useState<'idle' | 'busy' | { error: string }>('idle');
  const load = async () => {
    setState('busy');
    try {
      const found = await pprofOf(profile);
      download(found.file, `${nameOf(found.profile)}.pb.gz`);
      setState('idle');
    } catch (error) {
      setState({ error: error instanceof Error ? error.message : String(error) });
    }
  };
  return (
    <>
      <button
        className={isPlain ? 'plain' : undefined}
        data-testid="profile-pprof"
        aria-label={isPlain ? `Download ${profile.id}` : undefined}
        disabled={state === 'busy'}
        onClick={load}
      >
        {label}
      </button>
      {typeof state === 'object' && (
        <span role="alert" className="worse" data-testid="error" title={state.error}>
          {state.error}
        </span>
      )}
    </>
  );
}
