// One profile as a flame graph.
import { useMemo } from 'react';
import { querier } from '../../api/client';
import type { FlameGraph } from '../../api/types';
import { FlameView } from '../../flame/FlameView';
import { AnswerState, stateOf, useAnswer } from '../../parts/answer';
import { usePage } from '../../parts/page';
import { parseSelector } from '../../selector';
import { formatMoment, fromNanos } from '../../time';
import { formatValue, unitOf } from '../../units';
import { Download, pprofOf } from './download';
import { graphRequest, nameOf, type Listed } from './list';

/** A profile that was taken at once is small: it is shown whole, unless it is not. */
const NODES_MAX = 65_536;

interface OpenedProps {
  profile: Pick<Listed, 'id' | 'time' | 'service'>;
  onClose(): void;
}

export function Opened({ profile, onClose }: OpenedProps) {
  const { state } = usePage();
  const type = parseSelector(state.query)?.type ?? '';
  const key = type === '' ? '' : JSON.stringify([profile.id, profile.time, type]);
  const asked = useAnswer(key, async (signal) => {
    const request = graphRequest(profile, type, NODES_MAX);
    const answer = await querier<{ flamegraph?: FlameGraph }>('SelectMergeStacktraces', request, signal);
    return answer.flamegraph ?? {};
  });
  const { answer } = asked;
  const graph = answer.state === 'ready' ? answer.value : undefined;
  const downloads = useMemo(() => ({ pprof: async () => (await pprofOf(profile)).file }), [profile]);
  const total = Number(graph?.total ?? '0');
  const isEmpty = (found: FlameGraph) => Number(found.total ?? '0') === 0;
  return (
    <div className="panel" data-testid="profile-open" data-name={profile.id} data-state={stateOf(answer, isEmpty)}>
      <div className="bar">
        <h2>
          {profile.service || 'Profile'} at {formatMoment(fromNanos(profile.time))}
        </h2>
        {graph && (
          <span data-testid="total" data-value={graph.total ?? '0'}>
            {formatValue(total, unitOf(type))}
          </span>
        )}
        <span className="spring" />
        <Download profile={profile} label="Download pprof" />
        <button onClick={onClose}>Close</button>
      </div>
      <AnswerState asked={asked} />
      {graph && isEmpty(graph) && <p className="notice">The profile has no values of this type.</p>}
      {graph && !isEmpty(graph) && (
        <FlameView graph={graph} sides={1} type={type} name={nameOf(profile)} downloads={downloads} />
      )}
    </div>
  );
}
