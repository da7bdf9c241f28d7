// The facade's hand-written declarations of the wasm (src/wasm/tidewire.d.ts) against the generated ones.

import { readFile } from "node:fs/promises";

import { expect, it } from "vitest";

import type * as generated from "../dist/wasm/generated.js";
import type * as written from "../src/wasm/tidewire.js";

type Parameters_<T> = T extends abstract new (...args: infer A) => unknown ? A : never;

// Compiles if the generated class can do all that the facade asks of it.
const asWritten = (client: generated.Client): written.Client => client;
const constructed = (args: Parameters_<typeof written.Client>): Parameters_<typeof generated.Client> => args;
const init = (own: typeof generated.default): typeof written.default => own;

it("the facade's picture of the wasm is what the wasm exports", async () => {
  expect([asWritten, constructed, init].every((f) => typeof f === "function")).toBe(true);
  const declarations = async (path: string): Promise<string[]> => {
    const text = await readFile(`${import.meta.dirname}/../${path}`, "utf8");
    const body = text.slice(text.indexOf("export class Client"), text.indexOf("\n}", text.indexOf("export class Client")));
    return [...body.matchAll(/^\s+(?:readonly )?(\w+)\(/gm)].map((match) => match[1] as string).sort();
  };
  expect(await declarations("src/wasm/tidewire.d.ts")).toEqual(await declarations("dist/wasm/generated.d.ts"));
});

it("the wasm imports nothing but its own bindings", async () => {
  const module = await WebAssembly.compile(await readFile(`${import.meta.dirname}/../dist/wasm/tidewire_bg.wasm`));
  expect(new Set(WebAssembly.Module.imports(module).map(({ module: from }) => from))).toEqual(new Set(["./tidewire_bg.js"]));
});
