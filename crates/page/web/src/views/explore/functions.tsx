// Functions across services by their own value. Beside each stands how it went over time where that is quick to find out, and
// else which services it is in. A function leads to the flame graph of all services, with it searched for.
import { useMemo } from 'react';
import type { Selection } from '../../api/types';
import { exactly } from '../../flame/search';
import { useAnswer } from '../../parts/answer';
import { usePage } from '../../parts/page';
import type { Selector } from '../../selector';
import { formatShare, formatValue, unitOf } from '../../units';
import { Rows, parseSort, printSort, type Column } from '../sql/rows';
import { askTrend, isTrendQuick } from './trend';
import { queryOf, type Ranked } from './ranked';
import { Parts, Sparkline } from './sparkline';
import type { FunctionCost } from './tally';
import { ViewLink, singleView } from './view-link';

interface FunctionsProps {
  ranked: Ranked;
  /** Whether all services are among those asked, and have answered. */
  isWhole: boolean;
  selection: Selection;
  selector: Selector | undefined;
}

type Trend = ReadonlyMap<string, number[]>;

export function Functions({ ranked, isWhole, selection, selector }: FunctionsProps) {
  const { state, set, span } = usePage();
  const { costs } = ranked;
  const unit = unitOf(selector?.type ?? '');
  const hasTrend = isWhole && isTrendQuick(ranked.took, span);
  const names = costs.map(({ name }) => name);
  const asked = useAnswer(hasTrend ? JSON.stringify([selection, names]) : '', (signal) => askTrend(selection, span, names, signal));
  const trend = asked.answer.state === 'ready' ? asked.answer.value : asked.answer.previous;
  const detail = hasTrend ? trendColumn(trend, unit) : servicesColumn(selector);
  const sort = parseSort(state.extra.functions) ?? { key: 'self', falling: true };
  const rows = useMemo(() => ordered(costs, sort.key, sort.falling), [costs, sort.key, sort.falling]);
  return (
    <div
      data-testid="explore-detail"
      data-kind={hasTrend ? 'trend' : 'services'}
      data-state={hasTrend ? asked.answer.state : isWhole ? 'ready' : 'loading'}
    >
      <Rows
        label="Functions by their own value"
        testId="explore-functions"
        columns={[...columnsOf(selection.query, unit), detail]}
        rows={rows}
        keyOf={({ name }) => name}
        nameOf={({ name }) => name}
        sort={sort}
        onSort={(next) => set({ extra: { ...state.extra, functions: printSort(next) } }, { replace: true })}
        heightMax={640}
      />
    </div>
  );
}

function ordered(costs: readonly FunctionCost[], key: string, falling: boolean): FunctionCost[] {
  const sign = falling ? -1 : 1;
  const compare = (a: FunctionCost, b: FunctionCost) => {
    if (key === 'name') return a.name < b.name ? -1 : 1;
    const [left, right] = key === 'total' ? [a.total, b.total] : [a.self, b.self];
    return left === right ? 0 : left < right ? -1 : 1;
  };
  return [...costs].sort((a, b) => sign * compare(a, b));
}

function columnsOf(query: string, unit: string): Column<FunctionCost>[] {
  const value = (key: 'self' | 'total', title: string): Column<FunctionCost> => ({
    key,
    title,
    width: 9,
    isNumber: true,
    text: (cost) => formatValue(Number(cost[key]), unit),
    exact: (cost) => String(cost[key]),
  });
  return [
    {
      key: 'name',
      title: 'Function',
      width: 25,
      text: ({ name }) => name,
      cell: ({ name }) => (
        <span className="ends">
          <bdi>
            <ViewLink change={singleView(query, exactly(name))}>{name}</ViewLink>
          </bdi>
        </span>
      ),
    },
    value('self', 'Self'),
    {
      key: 'share',
      title: 'Share',
      width: 8,
      isNumber: true,
      text: ({ share }) => formatShare(share, 1),
      exact: ({ share }) => String(share),
    },
    value('total', 'Total'),
  ];
}

function trendColumn(trend: Trend | undefined, unit: string): Column<FunctionCost> {
  return {
    key: 'trend',
    title: 'Over time',
    width: 13,
    isSortable: false,
    text: () => '',
    cell: ({ name }) => {
      const points = trend?.get(name) ?? [];
      if (points.length === 0) return null;
      return <Sparkline points={points} label={`${name} over time, at most ${formatValue(Math.max(...points), unit)}`} />;
    },
  };
}

/** Parts told in the tooltip. */
const TOLD_MAX = 8;

function servicesColumn(selector: Selector | undefined): Column<FunctionCost> {
  return {
    key: 'services',
    title: 'By service',
    width: 22,
    isSortable: false,
    text: ({ parts }) => {
      const told = parts.slice(0, TOLD_MAX).map(({ service, share }) => `${service} ${formatShare(share, 1)}`);
      return parts.length > TOLD_MAX ? `${told.join(', ')} and ${parts.length - TOLD_MAX} more` : told.join(', ');
    },
    cell: ({ name, parts }) => {
      const [first] = parts;
      if (!first) return null;
      return (
        <>
          <Parts parts={parts} />{' '}
          <ViewLink change={singleView(selector && queryOf(selector, first.service), exactly(name))}>
            {first.service} {formatShare(first.share, 1)}
          </ViewLink>
        </>
      );
    },
  };
}
