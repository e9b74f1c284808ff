// Services by what they cost, each with its totals over time. A service leads to its flame graph.
import { useMemo } from 'react';
import { usePage } from '../../parts/page';
import type { Selector } from '../../selector';
import { formatShare, formatValue, unitOf } from '../../units';
import { Rows, parseSort, printSort, type Column } from '../sql/rows';
import type { ServiceCost } from './costs';
import { queryOf } from './ranked';
import { Sparkline } from './sparkline';
import { ViewLink, singleView } from './view-link';

interface ServicesProps {
  costs: readonly ServiceCost[];
  selector: Selector | undefined;
}

export function Services({ costs, selector }: ServicesProps) {
  const { state, set } = usePage();
  const unit = unitOf(selector?.type ?? '');
  const total = useMemo(() => costs.reduce((sum, cost) => sum + cost.total, 0n), [costs]);
  const sort = parseSort(state.extra.sort) ?? { key: 'total', falling: true };
  const rows = useMemo(() => ordered(costs, sort.key, sort.falling), [costs, sort.key, sort.falling]);
  const columns = useMemo(() => columnsOf(costs, selector, unit), [costs, selector, unit]);
  return (
    <>
      <p className="hint">
        {costs.length.toLocaleString('en')} {costs.length === 1 ? 'service' : 'services'},{' '}
        <span data-testid="total" data-value={String(total)}>
          {formatValue(Number(total), unit)}
        </span>{' '}
        in all
      </p>
      <Rows
        label="Services by cost"
        testId="explore-services"
        columns={columns}
        rows={rows}
        keyOf={({ service }) => service}
        nameOf={({ service }) => service}
        sort={sort}
        onSort={(next) => set({ extra: { ...state.extra, sort: printSort(next) } }, { replace: true })}
        heightMax={640}
      />
    </>
  );
}

/** The services as they are given, by falling total, or by name. */
function ordered(costs: readonly ServiceCost[], key: string, falling: boolean): readonly ServiceCost[] {
  if (key === 'service') {
    const byName = [...costs].sort((a, b) => (a.service < b.service ? -1 : 1));
    return falling ? byName.reverse() : byName;
  }
  return falling ? costs : [...costs].reverse();
}

function columnsOf(costs: readonly ServiceCost[], selector: Selector | undefined, unit: string): Column<ServiceCost>[] {
  const total = (cost: ServiceCost) => formatValue(Number(cost.total), unit);
  return [
    {
      key: 'service',
      title: 'Service',
      width: Math.min(40, costs.reduce((width, { service }) => Math.max(width, service.length), 12)),
      text: ({ service }) => service,
      cell: ({ service }) => (
        <ViewLink change={singleView(selector && queryOf(selector, service))}>{service || '(no service)'}</ViewLink>
      ),
    },
    { key: 'total', title: 'Total', width: 9, isNumber: true, text: total, exact: (cost) => String(cost.total) },
    {
      key: 'share',
      title: 'Share',
      width: 8,
      isNumber: true,
      text: ({ share }) => formatShare(share, 1),
      exact: ({ share }) => String(share),
    },
    {
      key: 'trend',
      title: 'Over time',
      width: 11,
      isSortable: false,
      text: () => '',
      cell: (cost) => (
        <Sparkline
          points={cost.points}
          label={`${cost.service} over time, at most ${formatValue(Math.max(...cost.points), unit)} a step`}
        />
      ),
    },
  ];
}

