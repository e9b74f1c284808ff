// Profiles: the single profiles of a range, each opened as a flame graph or downloaded as it was pushed.
import { query } from '../api/client';
import type { ListProfilesResponse } from '../api/types';
import { AnswerState, stateOf, useAnswer } from '../parts/answer';
import { QueryBar } from '../parts/bar';
import { useQuery } from '../parts/default-query';
import { Empty } from '../parts/empty';
import { usePage } from '../parts/page';
import { ReportNotices } from '../parts/report';
import { useAskedServices } from '../parts/services';
import { nanos } from '../time';
import { List } from './profiles/table';
import { listed, type Listed } from './profiles/list';
import { Opened } from './profiles/opened';

/** How many of the newest profiles may be listed. */
const LIMITS = [100, 1000, 10_000];
const LIMIT_DEFAULT = 1000;

export default function Profiles() {
  const { state, set, span, now } = usePage();
  const asking = useQuery();
  const known = useAskedServices();
  const limit = LIMITS.find((choice) => String(choice) === state.extra.limit) ?? LIMIT_DEFAULT;
  const selection = { query: asking, startUnixNano: nanos(span.start), endUnixNano: nanos(span.end) };
  const key = asking === '' ? '' : JSON.stringify([selection, limit, now]);
  const asked = useAnswer(key, async (signal) => {
    const answer = await query<ListProfilesResponse>('ListProfiles', { selection, limit }, signal);
    return { profiles: (answer.profiles ?? []).map(listed), report: answer.report };
  });
  const { answer } = asked;
  const found = answer.state === 'ready' ? answer.value : answer.previous;
  const profiles = found?.profiles ?? [];
  const nothing = asking === '' && known.answer.state === 'ready';
  const ofAnswer = asking === '' ? stateOf(known.answer, () => true) : stateOf(answer, (value) => value.profiles.length === 0);
  const shown = nothing ? 'empty' : ofAnswer;
  const opened = profiles.find(({ id }) => id === state.extra.profile) ?? linked(state.extra);
  const open = (profile: Listed | undefined) => {
    const chosen = { profile: profile?.id ?? '', profileTime: profile?.time ?? '' };
    set({ extra: { ...state.extra, ...chosen }, focus: [], sandwich: '' });
  };
  const chooseQuery = (chosen: string) => set({ query: chosen, extra: { ...state.extra, profile: '', profileTime: '' } });
  return (
    <section data-testid="view-profiles" data-state={shown}>
      <h1 className="hidden">Profiles</h1>
      <QueryBar query={asking} onQuery={chooseQuery} />
      {asking === '' && <AnswerState asked={known} />}
      {opened && <Opened key={opened.id} profile={opened} onClose={() => open(undefined)} />}
      {asking !== '' && <AnswerState asked={asked} key={key} />}
      {shown === 'empty' && <Empty query={asking} />}
      <ReportNotices report={found?.report} />
      {profiles.length > 0 && <List profiles={profiles} limits={LIMITS} limit={limit} onOpen={open} />}
    </section>
  );
}

/** The profile that the URL names, also where it is not among those listed. */
function linked({ profile, profileTime }: Record<string, string>): Pick<Listed, 'id' | 'time' | 'service'> | undefined {
  if (!profile || !profileTime || !/^\d{1,19}$/.test(profileTime)) return undefined;
  return { id: profile, time: profileTime, service: '' };
}
