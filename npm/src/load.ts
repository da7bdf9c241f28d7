/** Loads the wasm, at the first use and once per page. */

import type { Core } from "./core.js";
import { TidewireError } from "./errors.js";
import type { WasmSource } from "./types.js";

/** The constructor of a core. */
export type CoreClass = new (...args: ConstructorParameters<typeof Core>) => Core;

/** Where the wasm is, asked when it is first needed. */
export type FindWasm = () => WasmSource | Promise<WasmSource>;

let loading: Promise<CoreClass> | undefined;

/** The loaded module. The first source wins; a failure is forgotten, so that a later use tries again. */
export function loadCore(findWasm: FindWasm): Promise<CoreClass> {
  loading ??= load(findWasm).catch((cause: unknown) => {
    loading = undefined;
    throw new TidewireError(
      "wasm_load_failed",
      "the wasm of tidewire could not be loaded: see the cause; make sure that tidewire_bg.wasm is " +
        "served and that the content security policy allows 'wasm-unsafe-eval'; or import " +
        "tidewire/inline, or pass it to createClient({ wasm })",
      { retryable: true, cause },
    );
  });
  return loading;
}

async function load(findWasm: FindWasm): Promise<CoreClass> {
  const glue = await import("./wasm/tidewire.js");
  await glue.default({ module_or_path: await findWasm() });
  return glue.Client;
}
