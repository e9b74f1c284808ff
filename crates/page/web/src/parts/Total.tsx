// What was found in sum, and in how many profiles.
import type { QueryReport } from '../api/types';
import { formatCount, formatValue } from '../units';

interface TotalProps {
  value: string | undefined;
  unit: string;
  testId: string;
  report?: QueryReport | undefined;
}

export function Total({ value = '0', unit, testId, report }: TotalProps) {
  const profiles = Number(report?.profilesRead ?? 0);
  return (
    <span className="total">
      <strong data-testid={testId} data-value={value}>
        {formatValue(Number(value), unit)}
      </strong>
      {profiles > 0 && <span className="hint"> of {formatCount(profiles)} profile{profiles === 1 ? '' : 's'}</span>}
    </span>
  );
}
