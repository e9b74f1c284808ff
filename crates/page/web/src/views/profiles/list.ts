// Single profiles as they are listed, and how one of them is asked for.

import type { ProfileSummary } from '../../api/types';
import { fileName } from '../../parts/download';
import { fromNanos } from '../../time';

export interface Listed {
  id: string;
  /** Nanoseconds since 1970, digit by digit. */
  time: string;
  durationNano: number;
  profileType: string;
  service: string;
  /** The labels but the service, `name="value", …`. */
  labels: string;
  total: bigint;
}

/** Labels that say how a profile was sent rather than what it is of. */
const isInner = (name: string) => name.startsWith('__');

export function listed(summary: ProfileSummary): Listed {
  const labels = summary.labels ?? [];
  const others = labels.filter(({ name }) => name !== 'service_name' && !isInner(name));
  return {
    id: summary.id,
    time: summary.timeUnixNano ?? '0',
    durationNano: Number(summary.durationNano ?? '0'),
    profileType: summary.profileType,
    service: labels.find(({ name }) => name === 'service_name')?.value ?? '',
    labels: others.map(({ name, value }) => `${name}=${JSON.stringify(value)}`).join(', '),
    total: BigInt(summary.total ?? '0'),
  };
}

export type SortKey = 'time' | 'service' | 'labels' | 'duration' | 'total' | 'id';

function compareBy(key: string, a: Listed, b: Listed): number {
  const order = (left: string | number | bigint, right: string | number | bigint) => (left < right ? -1 : left > right ? 1 : 0);
  switch (key) {
    case 'service':
      return order(a.service, b.service);
    case 'labels':
      return order(a.labels, b.labels);
    case 'duration':
      return order(a.durationNano, b.durationNano);
    case 'total':
      return order(a.total, b.total);
    case 'id':
      return order(a.id, b.id);
    default:
      return order(BigInt(a.time), BigInt(b.time));
  }
}

/** The profiles in an order; of equal ones the newest first. */
export function sortedProfiles(profiles: readonly Listed[], key: string, falling: boolean): Listed[] {
  const sign = falling ? -1 : 1;
  return [...profiles].sort((a, b) => sign * compareBy(key, a, b) || compareBy('time', b, a) || compareBy('id', a, b));
}

/** The request for the flame graph of one profile: of the one moment it was taken at, by its id. */
export function graphRequest(profile: { id: string; time: string }, profileType: string, maxNodes: number) {
  const start = fromNanos(profile.time);
  return {
    profileTypeID: profileType,
    labelSelector: '{}',
    start: String(start),
    end: String(start + 1),
    maxNodes: String(maxNodes),
    profileIdSelector: [profile.id],
  };
}

/** What files of a profile are called, without an ending: its service and its moment. */
export function nameOf({ service, time }: Pick<Listed, 'service' | 'time'>): string {
  return fileName(service || 'profile', new Date(fromNanos(time)).toISOString().slice(0, 19));
}
