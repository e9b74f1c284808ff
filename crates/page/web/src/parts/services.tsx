// The services of the page's range with their profile types, asked for once for all parts.
import { createContext, useContext, type ReactNode } from 'react';
import { services } from '../api/ask';
import { useAnswer, type Asked } from './answer';
import { usePage } from './page';

export type Services = ReadonlyMap<string, readonly string[]>;

const ServicesContext = createContext<Asked<Services> | undefined>(undefined);

export function ServicesProvider({ children }: { children: ReactNode }) {
  const { span, now } = usePage();
  const asked = useAnswer<Services>(`${span.start} ${span.end} ${now}`, (signal) => services(span, signal));
  return <ServicesContext.Provider value={asked}>{children}</ServicesContext.Provider>;
}

export function useAskedServices(): Asked<Services> {
  const asked = useContext(ServicesContext);
  if (!asked) throw new Error('there are no services around this part');
  return asked;
}

/** Those that are known: of the range before, until the answer is there. */
export function useServices(): Services | undefined {
  const { answer } = useAskedServices();
  return answer.state === 'ready' ? answer.value : answer.previous;
}

/** The types of a service; of all for an empty name. */
export function typesOf(known: Services | undefined, service: string): readonly string[] {
  if (!known) return [];
  if (service !== '') return known.get(service) ?? [];
  return [...new Set([...known.values()].flat())].sort();
}

/** The type to begin with: CPU time, else anything of the CPU, else the first. */
export function preferred(types: readonly string[]): string {
  return types.find(isCpuTime) ?? types.find((each) => each.startsWith('process_cpu:')) ?? types[0] ?? '';
}

export const isCpuTime = (type: string) => type.split(':')[1] === 'cpu';
