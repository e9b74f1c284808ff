// The tenant and the token that requests are sent with.
import { useState } from 'react';
import { keepSettings, readSettings } from '../api/settings';

export function SettingsPanel({ applied }: { applied(): void }) {
  const [settings, setSettings] = useState(readSettings);
  return (
    <form
      className="settings"
      aria-label="Settings"
      onSubmit={(event) => {
        event.preventDefault();
        keepSettings(settings);
        applied();
      }}
    >
      <label>
        Tenant
        <input
          value={settings.tenant}
          placeholder="anonymous"
          onChange={(event) => setSettings({ ...settings, tenant: event.target.value.trim() })}
        />
      </label>
      <label>
        Token
        <input
          type="password"
          autoComplete="off"
          value={settings.token}
          onChange={(event) => setSettings({ ...settings, token: event.target.value.trim() })}
        />
      </label>
      <button type="submit">Apply</button>
      <span className="hint">The tenant is kept by this browser, the token by this tab only.</span>
    </form>
  );
}
