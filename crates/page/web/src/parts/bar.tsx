// What is asked for: the service, the profile type, the labels, the range.
import { parseSelector, printSelector, serviceOf, withService, type Selector } from '../selector';
import { absolute, resolve, type Range, type Span } from '../time';
import { nameOfType } from '../units';
import { CopyButton } from './copy';
import { Filters } from './filters';
import { RefreshIcon } from './icons';
import { usePage } from './page';
import { RangePicker } from './range';
import { preferred, typesOf, useServices } from './services';
import type { Side } from '../state';

interface QueryFieldsProps {
  query: string;
  /** Tells the fields of two sides apart. */
  side?: string;
  withoutService?: boolean;
  onQuery(query: string): void;
}

/** The fields of one selector. */
export function QueryFields({ query, side = '', withoutService = false, onQuery }: QueryFieldsProps) {
  const { span } = usePage();
  const known = useServices();
  const selector = parseSelector(query) ?? { type: '', matchers: [] };
  const service = serviceOf(selector) ?? '';
  const types = typesOf(known, service);
  const change = (changed: Selector) => onQuery(printSelector(changed));
  const suffix = side === '' ? '' : `-${side}`;
  const toService = (name: string) => change(fitting(withService(selector, name), typesOf(known, name)));
  return (
    <>
      {!withoutService && (
        <select
          data-testid={`service${suffix}`}
          aria-label={`Service${side && ` of ${side}`}`}
          value={service}
          onChange={(event) => toService(event.target.value)}
        >
          <option value="">All services</option>
          {withCurrent(known ? [...known.keys()] : [], service).map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      )}
      <select
        data-testid={`profile-type${suffix}`}
        aria-label={`Profile type${side && ` of ${side}`}`}
        value={selector.type}
        onChange={(event) => change({ ...selector, type: event.target.value })}
      >
        {selector.type === '' && <option value="">Profile type</option>}
        {withCurrent(types, selector.type).map((type) => (
          <option key={type} value={type}>
            {nameOfType(type)}
          </option>
        ))}
      </select>
      <Filters selector={selector} span={span} onChange={change} />
    </>
  );
}

/** The bar above a view: one selector, the range of all, asking again, the link. */
export function QueryBar(props: QueryFieldsProps) {
  return (
    <div className="bar">
      <QueryFields {...props} />
      <span className="spring" />
      <RangeControls />
    </div>
  );
}

export function RangeControls() {
  const { state, span, now, set, refresh } = usePage();
  const change = (range: Range) => set({ ...range, left: withoutRange(state.left), right: withoutRange(state.right) });
  const show = (wider: Span) => change(absolute(wider));
  return (
    <>
      <RangePicker range={state} now={now} onChange={change} />
      <button aria-label="Zoom out" title="Twice the range" onClick={() => show(twice(span, now))}>
        −
      </button>
      <button aria-label="Refresh" title="Refresh" onClick={refresh}>
        <RefreshIcon />
      </button>
      <CopyLink />
    </>
  );
}

/** Sides lie in the range of all: another range begins with its halves again. */
const withoutRange = (side: Side): Side => ({ ...side, from: '', to: '' });

/** Twice as long, around the same middle, but not beyond now. */
function twice({ start, end }: Span, now: number): Span {
  const later = Math.min(end + Math.ceil((end - start) / 2), Math.max(end, now));
  return { start: later - 2 * (end - start), end: later };
}

/** The link to what is shown, with its moments as they are now. */
function CopyLink() {
  const { state, span, now, href } = usePage();
  const fixed = (side: Side): Side => {
    const given = resolve(side, now);
    return given ? { ...side, ...absolute(given) } : side;
  };
  const link = () => href({ ...absolute(span), left: fixed(state.left), right: fixed(state.right) });
  return (
    <CopyButton testId="copy-link" text={() => new URL(link(), document.baseURI).href}>
      Copy link
    </CopyButton>
  );
}

const withCurrent = (known: readonly string[], current: string) =>
  current === '' || known.includes(current) ? known : [current, ...known];

/** The selector with a type that its service has: its own, else one of the same kind, else CPU time, else any. */
function fitting(selector: Selector, types: readonly string[]): Selector {
  if (types.length === 0 || types.includes(selector.type)) return selector;
  const kind = selector.type.split(':')[1];
  const type = types.find((each) => each.split(':')[1] === kind) ?? preferred(types);
  return { ...selector, type };
}
