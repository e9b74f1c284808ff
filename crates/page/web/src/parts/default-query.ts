// What is shown where nothing was asked for: the first service that spends CPU time, else the first of all.
import { useEffect } from 'react';
import { selectorOf } from '../selector';
import { usePage } from './page';
import { isCpuTime, preferred, useServices, type Services } from './services';

export function defaultQuery(services: Services): string {
  const all = [...services];
  const [service, types] = all.find(([, each]) => each.some(isCpuTime)) ?? all[0] ?? ['', []];
  return types.length === 0 ? '' : selectorOf(preferred(types), service);
}

/** The state's query, else the default one; empty while it is not known, and where there are no profiles. */
export function useDefaultQuery(): string {
  const { state } = usePage();
  const services = useServices();
  return state.query !== '' || !services ? state.query : defaultQuery(services);
}

/** The same, and puts it into the state. */
export function useQuery(): string {
  const { state, set } = usePage();
  const query = useDefaultQuery();
  useEffect(() => {
    if (state.query === '' && query !== '') set({ query }, { replace: true });
  }, [state.query, query, set]);
  return query;
}
