// Small pictures of buttons whose names are given in words.
import type { ReactNode } from 'react';

function Icon({ children }: { children: ReactNode }) {
  return (
    <svg className="icon" viewBox="0 0 16 16" width="14" height="14" aria-hidden="true" fill="none" stroke="currentColor" strokeWidth="1.6">
      {children}
    </svg>
  );
}

export const SandwichIcon = () => (
  <Icon>
    <path d="M8 1v4M6 3l2 2 2-2M2 8h12M8 15v-4M6 13l2-2 2 2" />
  </Icon>
);

export const CopyIcon = () => (
  <Icon>
    <path d="M5 5V2h9v9h-3M2 5h9v9H2z" />
  </Icon>
);

export const CloseIcon = () => (
  <Icon>
    <path d="M4 4l8 8M12 4l-8 8" />
  </Icon>
);

export const RefreshIcon = () => (
  <Icon>
    <path d="M13 8a5 5 0 1 1-1.5-3.5M13 2v3h-3" />
  </Icon>
);
