// The list of profiles, sorted by any of its columns.
import { useMemo } from 'react';
import { usePage } from '../../parts/page';
import { formatMoment, fromNanos } from '../../time';
import { formatValue, unitOf } from '../../units';
import { Rows, parseSort, printSort, type Column } from '../sql/rows';
import { Download } from './download';
import { sortedProfiles, type Listed } from './list';

interface ListProps {
  profiles: readonly Listed[];
  limits: readonly number[];
  limit: number;
  onOpen(profile: Listed): void;
}

export function List({ profiles, limits, limit, onOpen }: ListProps) {
  const { state, set } = usePage();
  const sort = parseSort(state.extra.sort) ?? { key: 'time', falling: true };
  const rows = useMemo(() => sortedProfiles(profiles, sort.key, sort.falling), [profiles, sort.key, sort.falling]);
  const columns = useMemo(() => columnsOf(profiles, onOpen), [profiles, onOpen]);
  const put = (name: string, value: string) => set({ extra: { ...state.extra, [name]: value } }, { replace: true });
  return (
    <>
      <div className="bar">
        <strong data-testid="profiles-count" data-value={profiles.length}>
          {profiles.length === limit ? 'The newest ' : ''}
          {profiles.length.toLocaleString('en')} {profiles.length === 1 ? 'profile' : 'profiles'}
        </strong>
        <span className="spring" />
        <label>
          At most
          <select value={limit} onChange={(event) => put('limit', event.target.value)}>
            {limits.map((choice) => (
              <option key={choice} value={choice}>
                {choice.toLocaleString('en')}
              </option>
            ))}
          </select>
        </label>
      </div>
      <Rows
        label="Profiles"
        testId="profiles-table"
        columns={columns}
        rows={rows}
        keyOf={({ id, profileType }) => `${id} ${profileType}`}
        nameOf={({ id }) => id}
        sort={sort}
        onSort={(next) => put('sort', printSort(next))}
        marked={`${state.extra.profile} ${profiles[0]?.profileType}`}
        heightMax={560}
      />
    </>
  );
}

function columnsOf(profiles: readonly Listed[], onOpen: (profile: Listed) => void): Column<Listed>[] {
  const widest = (text: (row: Listed) => string, least: number, most: number) =>
    Math.min(most, profiles.slice(0, 200).reduce((width, row) => Math.max(width, text(row).length), least));
  const moment = (row: Listed) => formatMoment(fromNanos(row.time));
  return [
    {
      key: 'time',
      title: 'Time',
      width: 22,
      text: moment,
      exact: ({ time }) => time,
      cell: (row) => (
        <button className="plain" data-testid="profile-show" onClick={() => onOpen(row)}>
          {moment(row)}
        </button>
      ),
    },
    { key: 'service', title: 'Service', width: widest(({ service }) => service, 10, 36), text: ({ service }) => service },
    { key: 'labels', title: 'Labels', width: widest(({ labels }) => labels, 8, 48), text: ({ labels }) => labels },
    {
      key: 'duration',
      title: 'Duration',
      width: 11,
      isNumber: true,
      text: ({ durationNano }) => (durationNano === 0 ? '' : formatValue(durationNano, 'nanoseconds')),
      exact: ({ durationNano }) => String(durationNano),
    },
    {
      key: 'total',
      title: 'Total',
      width: 12,
      isNumber: true,
      text: ({ total, profileType }) => formatValue(Number(total), unitOf(profileType)),
      exact: ({ total }) => String(total),
    },
    { key: 'id', title: 'Id', width: 34, text: ({ id }) => id },
    {
      key: 'pprof',
      title: 'pprof',
      width: 11,
      isSortable: false,
      text: () => '',
      cell: (row) => <Download profile={row} label="Download" isPlain />,
    },
  ];
}
