import type { CSSProperties } from "react";
import { initials } from "../identity.ts";

/** A coloured disc with initials. The name is its title; say it in text where it matters. */
export function Avatar({ name, color, small = false }: { name: string; color: string; small?: boolean }) {
  return (
    <span
      className={small ? "avatar avatar--small" : "avatar"}
      style={{ "--person": color } as CSSProperties}
      title={name}
      aria-hidden="true"
    >
      {initials(name)}
    </span>
  );
}
