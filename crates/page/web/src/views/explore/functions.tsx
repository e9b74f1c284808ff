// Functions across services by their own value. Beside each stands how it went over time where that is quick to find out, and
// else which services it is in. A function leads to the flame graph of all services, with it searched for.
import { useMemo } from 'react';
import type { Selection } from '../../api/types';
import { useAnswer } from '../../parts/answer';
import { exactly } from '../../flame/search';
import { usePage } from '../../parts/page';
import type { Selector } from '../../selector';
import { formatShare, formatValue, unitOf } from '../../units';
import { Rows, parseSort, printSort, type Column } from '../sql/rows';
import { askDetail, plannedDetail, type Detail } from './detail';
import type { FunctionCost } from './costs';
import { serviceChange } from './services';
import { Parts, Sparkline } from './sparkline';
import { ViewLink } from './view-link';

interface FunctionsProps {
  costs: readonly FunctionCost[];
  total: bigint;
  /** Milliseconds that the functions took to be answered. */
  took: number;
  selection: Selection;
  selector: Selector | undefined;
  /** By falling cost. */
  services: readonly string[];
}

export function Functions({ costs, total, took, selection, selector, services }: FunctionsProps) {
  const { state, set, span } = usePage();
  const unit = unitOf(selector?.type ?? '');
  const plan = plannedDetail(took, services.length, span);
  // What stands beside functions waits for the services, so that it can be about them.
  const key = services.length === 0 ? '' : JSON.stringify([selection, plan]);
  const asked = useAnswer(key, (signal) => askDetail(plan, { selection, span, selector, services, costs }, signal));
  const detail = asked.answer.state === 'ready' ? asked.answer.value : undefined;
  const sort = parseSort(state.extra.functions) ?? { key: 'self', falling: true };
  const rows = useMemo(() => ordered(costs, sort.key, sort.falling), [costs, sort.key, sort.falling]);
  const columns = useMemo(() => columnsOf(plan, detail, selector, unit), [plan, detail, selector, unit]);
  return (
    <>
      <p className="hint" data-testid="explore-detail" data-kind={plan} data-state={asked.answer.state}>
        The {costs.length} with the largest own value, of{' '}
        <span data-testid="functions-total" data-value={String(total)}>
          {formatValue(Number(total), unit)}
        </span>
        {asked.answer.state === 'error' && `; ${asked.answer.error.message}`}
      </p>
      <Rows
        label="Functions by their own value"
        testId="explore-functions"
        columns={columns}
        rows={rows}
        keyOf={({ name }) => name}
        nameOf={({ name }) => name}
        sort={sort}
        onSort={(next) => set({ extra: { ...state.extra, functions: printSort(next) } }, { replace: true })}
        heightMax={640}
      />
    </>
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

function columnsOf(
  plan: Detail['kind'],
  detail: Detail | undefined,
  selector: Selector | undefined,
  unit: string
): Column<FunctionCost>[] {
  return [
    {
      key: 'name',
      title: 'Function',
      width: 26,
      text: ({ name }) => name,
      cell: ({ name }) => (
        <span className="ends">
          <bdi>
            <ViewLink change={serviceChange(selector, '', exactly(name))}>{name}</ViewLink>
          </bdi>
        </span>
      ),
    },
    {
      key: 'self',
      title: 'Self',
      width: 9,
      isNumber: true,
      text: ({ self }) => formatValue(Number(self), unit),
      exact: ({ self }) => String(self),
    },
    {
      key: 'share',
      title: 'Share',
      width: 8,
      isNumber: true,
      text: ({ share }) => formatShare(share, 1),
      exact: ({ share }) => String(share),
    },
    {
      key: 'total',
      title: 'Total',
      width: 9,
      isNumber: true,
      text: ({ total }) => formatValue(Number(total), unit),
      exact: ({ total }) => String(total),
    },
    plan === 'trend' ? trendColumn(detail, unit) : servicesColumn(detail, selector),
  ];
}

function trendColumn(detail: Detail | undefined, unit: string): Column<FunctionCost> {
  const pointsOf = ({ name }: FunctionCost) => (detail?.kind === 'trend' ? (detail.points.get(name) ?? []) : []);
  return {
    key: 'trend',
    title: 'Over time',
    width: 13,
    isSortable: false,
    text: () => '',
    cell: (cost) => {
      const points = pointsOf(cost);
      if (points.length === 0) return null;
      return <Sparkline points={points} label={`${cost.name} over time, at most ${formatValue(Math.max(...points), unit)}`} />;
    },
  };
}

function servicesColumn(detail: Detail | undefined, selector: Selector | undefined): Column<FunctionCost> {
  const partsOf = ({ name }: FunctionCost) => (detail?.kind === 'services' ? (detail.parts.get(name) ?? []) : []);
  const text = (cost: FunctionCost) =>
    partsOf(cost).map(({ service, share }) => `${service} ${formatShare(share, 1)}`).join(', ');
  return {
    key: 'services',
    title: 'By service',
    width: 24,
    isSortable: false,
    text,
    cell: (cost) => {
      const parts = partsOf(cost);
      const first = parts.find(({ service }) => service !== 'others');
      if (parts.length === 0) return null;
      return (
        <>
          <Parts parts={parts} />{' '}
          {first && (
            <ViewLink change={serviceChange(selector, first.service, exactly(cost.name))}>
              {first.service} {formatShare(first.share, 1)}
            </ViewLink>
          )}
        </>
      );
    },
  };
}
