// Whose profiles are asked for, and with which token. The token is forgotten with the browser's tab.

export interface Settings {
  tenant: string;
  token: string;
}

const TENANT = 'flamestore.tenant';
const TOKEN = 'flamestore.token';

export function readSettings(): Settings {
  return { tenant: localStorage.getItem(TENANT) ?? '', token: sessionStorage.getItem(TOKEN) ?? '' };
}

export function keepSettings(settings: Settings): void {
  keep(localStorage, TENANT, settings.tenant);
  keep(sessionStorage, TOKEN, settings.token);
}

function keep(storage: Storage, name: string, value: string): void {
  if (value === '') storage.removeItem(name);
  else storage.setItem(name, value);
}

/** What a request says of its sender. */
export function headers(): Record<string, string> {
  const { tenant, token } = readSettings();
  return {
    ...(tenant === '' ? {} : { 'x-scope-orgid': tenant }),
    ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
  };
}
