// A range in which nothing was found, and where there is something.
import { newest } from '../api/ask';
import { querier } from '../api/client';
import { absolute, formatMoment } from '../time';
import { Notice, useAnswer } from './answer';
import { usePage } from './page';

const HOUR = 3_600_000;

/** Says when the newest profile of the query is of; of all profiles where there is no query. */
export function Empty({ query }: { query: string }) {
  const { now, set } = usePage();
  const { answer } = useAnswer(`newest ${query} ${now}`, (signal) => (query === '' ? newestOfAll(signal) : newest(query, signal)));
  const time = answer.state === 'ready' ? answer.value : undefined;
  const show = () =>
    set({ ...absolute({ start: time! - HOUR, end: time! + 1 }), left: NO_SIDE, right: NO_SIDE, ...(query === '' ? {} : { query }) });
  return (
    <Notice testId="empty">
      <span>
        No profiles in this range
        {time !== undefined && <>: the newest is of {formatMoment(time)}</>}
        {answer.state === 'ready' && time === undefined && <>, nor at any other time</>}.
      </span>
      {time !== undefined && <button onClick={show}>Show the hour before it</button>}
    </Notice>
  );
}

const NO_SIDE = { query: '', from: '', to: '' };

async function newestOfAll(signal: AbortSignal): Promise<number | undefined> {
  const stats = await querier<{ dataIngested?: boolean; newestProfileTime?: string }>('GetProfileStats', {}, signal);
  return stats.dataIngested ? Number(stats.newestProfileTime) : undefined;
}
