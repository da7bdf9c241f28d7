import type { TidewireError } from "tidewire";

const ADVICE: Record<string, string> = {
  unauthenticated:
    "The server does not accept this token. Open the board without ?token= to come in as a guest.",
  forbidden: "You may not see this board. Ask whoever runs the server.",
};

/** The channel cannot be shown, and trying again unchanged would not help. */
export function Fatal({ error }: { error: TidewireError }) {
  return (
    <section className="fatal" role="alert" data-testid="fatal" data-code={error.code}>
      <h2>This board cannot be opened</h2>
      <p>{ADVICE[error.code] ?? "The server refused, and trying again unchanged would not help."}</p>
      <p className="fatal__detail">
        <code>{error.code}</code> {error.message}
      </p>
    </section>
  );
}
