// Copying text, also where the browser gives no clipboard because the page came over plain HTTP.
import { useState } from 'react';

export async function copyText(text: string): Promise<boolean> {
  try {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return true;
    }
  } catch {
    // Refused: the older way may still be allowed.
  }
  return copySelected(text);
}

function copySelected(text: string): boolean {
  const area = document.createElement('textarea');
  area.value = text;
  area.style.position = 'fixed';
  area.style.opacity = '0';
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  return done;
}

// The menu of the flame graph copies names through the browser's clipboard alone.
if (!navigator.clipboard) {
  const clipboard = { writeText: async (text: string) => void copySelected(text) };
  Object.defineProperty(navigator, 'clipboard', { value: clipboard, configurable: true });
}

export function CopyButton({ text, children, testId }: { text(): string; children: string; testId?: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    setDone(await copyText(text()));
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <button data-testid={testId} onClick={() => void copy()}>
      {done ? 'Copied' : children}
    </button>
  );
}
