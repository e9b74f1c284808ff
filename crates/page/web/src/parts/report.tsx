// What an answer says of itself: segments that are missing in it, and a range that is not the one asked for.
import type { QueryReport } from '../api/types';
import { formatMoment, fromNanos } from '../time';
import { Notice } from './answer';

export function ReportNotices({ report }: { report: QueryReport | undefined }) {
  const damaged = report?.damaged ?? [];
  const widened = report?.widened;
  return (
    <>
      {damaged.length > 0 && (
        <Notice testId="damaged">
          {damaged.length} segment{damaged.length === 1 ? '' : 's'} could not be read and {damaged.length === 1 ? 'is' : 'are'}{' '}
          missing in this answer: {damaged.map((each) => `${each.segment} (${each.error})`).join(', ')}
        </Notice>
      )}
      {widened && (
        <Notice testId="widened">
          The samples at the ends of the range have expired: this answers {formatMoment(fromNanos(widened.startUnixNano))} to{' '}
          {formatMoment(fromNanos(widened.endUnixNano))}.
        </Notice>
      )}
    </>
  );
}
