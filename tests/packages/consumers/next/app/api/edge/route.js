// Edge functions compile no wasm at run time: there the package loads, and renders what hooks show at first.
import { createClient, TidewireError } from "tidewire";

export const runtime = "edge";

export function GET() {
  const { state } = createClient({ url: "https://tide.test" }).connection;
  return Response.json({ state, error: typeof TidewireError });
}
