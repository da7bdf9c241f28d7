// Line icons on a 20-pixel grid, drawn in the colour of the text around them. Decoration: the label is elsewhere.

import type { ReactNode } from "react";

function Icon({ children }: { children: ReactNode }) {
  return (
    <svg className="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

export const PlusIcon = () => (
  <Icon>
    <path d="M10 4.5v11M4.5 10h11" />
  </Icon>
);

export const LockIcon = () => (
  <Icon>
    <rect x="4.5" y="9" width="11" height="7.5" rx="2" />
    <path d="M7 9V6.5a3 3 0 0 1 6 0V9" />
  </Icon>
);

export const MoreIcon = () => (
  <Icon>
    <path d="M5 10h.01M10 10h.01M15 10h.01" strokeWidth="2.6" />
  </Icon>
);

export const CloseIcon = () => (
  <Icon>
    <path d="M5.5 5.5l9 9M14.5 5.5l-9 9" />
  </Icon>
);

export const EditIcon = () => (
  <Icon>
    <path d="M4 16l.8-3.4L13 4.4a1.6 1.6 0 0 1 2.3 0l.3.3a1.6 1.6 0 0 1 0 2.3l-8.2 8.2L4 16z" />
  </Icon>
);

export const TrashIcon = () => (
  <Icon>
    <path d="M4 6h12M8 6V4h4v2M6 6l.7 10h6.6L14 6M8.5 9v4M11.5 9v4" />
  </Icon>
);

export const ArrowIcon = () => (
  <Icon>
    <path d="M4 10h11M11 6l4 4-4 4" />
  </Icon>
);

export const BoltIcon = () => (
  <Icon>
    <path d="M11 3L5 11.300h4.200L8.500 17 15 8.500h-4.400L11 3z" />
  </Icon>
);

export const AlertIcon = () => (
  <Icon>
    <path d="M10 6.5v4.2M10 13.6h.01" strokeWidth="2" />
    <circle cx="10" cy="10" r="7.2" />
  </Icon>
);

export const WaveIcon = () => (
  <svg className="wave" viewBox="0 0 32 24" aria-hidden="true" focusable="false">
    <path d="M3 9c4.3 0 4.3-4 8.7-4S16 9 20.300 9 24.700 5 29 5" />
    <path d="M3 19c4.300 0 4.300-4 8.700-4s4.300 4 8.600 4 4.400-4 8.700-4" />
  </svg>
);
