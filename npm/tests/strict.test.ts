// What a call was not meant to be given is refused with `invalid`, and everything thrown is a TidewireError.

import { describe, expect, it } from "vitest";

import { createClient, TidewireError } from "../dist/index.js";
import { createClient as inline } from "../dist/inline.js";
import { ready, setup } from "./support/board.js";

type Loose = Record<string, (...args: unknown[]) => unknown>;

function refused(call: () => unknown, code: string, message: RegExp): void {
  let thrown: unknown;
  try {
    call();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(TidewireError);
  expect(thrown).toMatchObject({ code, message: expect.stringMatching(message) });
}

describe("createClient", () => {
  const url = "http://tide.test";
  const cases: [string, unknown, string, RegExp][] = [
    ["nothing", undefined, "invalid", /options as an object/],
    ["text", "http://tide.test", "invalid", /options as an object/],
    ["no URL", {}, "invalid_url", /url/],
    ["a URL that is a number", { url: 7 }, "invalid_url", /number/],
    ["a misspelt option", { url, tokn: "t" }, "invalid", /"tokn" is not an option of createClient: there are url, token/],
    ["a token that is a number", { url, token: 7 }, "invalid", /token/],
    ["a misspelt retry option", { url, retry: { base: 1 } }, "invalid", /"base".*baseMs/],
    ["retry that is a number", { url, retry: 3 }, "invalid", /retry takes its options/],
    ["a negative delay", { url, retry: { baseMs: -1 } }, "invalid", /retry\.baseMs is -1/],
    ["attempts that are text", { url, retry: { attempts: "8" } }, "invalid", /retry\.attempts/],
    ["a WebSocket that is an object", { url, WebSocket: {} }, "invalid", /WebSocket must be a function/],
  ];
  for (const [what, options, code, message] of cases) {
    it(`refuses ${what}`, () => {
      for (const make of [createClient, inline]) refused(() => make(options as never), code, message);
    });
  }

  it("takes what is undefined for not given", () => {
    createClient({ url, token: undefined, WebSocket: undefined, wasm: undefined, retry: { baseMs: undefined } }).close();
  });
});

it("events that nobody tells are refused, and what is no function", () => {
  const { client, board } = setup();
  const [loose, looseClient] = [board as unknown as Loose, client as unknown as Loose];
  refused(() => loose.on!("reject", () => {}), "invalid", /"reject" is not an event of a channel: there are .*rejected/);
  refused(() => loose.on!("toString", () => {}), "invalid", /toString/);
  refused(() => loose.on!(7, () => {}), "invalid", /number/);
  refused(() => loose.on!("rejected"), "invalid", /listener must be a function/);
  refused(() => looseClient.on!("connect", () => {}), "invalid", /"connect".*connection, warning/);
  refused(() => looseClient.on!("connection", null), "invalid", /listener/);
  refused(() => looseClient.channel!(7), "invalid_channel", /text/);
  refused(() => loose.watch!("cards"), "invalid", /listener/);
  refused(() => loose.watch!("cards", 7, () => {}), "invalid", /watch takes/);
  refused(() => loose.watch!("cards", "a"), "invalid", /listener/);
  expect(board.status).toBe("idle");
});

describe("a change", () => {
  const requires: [string, unknown][] = [
    ["no list", { exists: ["cards", "a"] }],
    ["text", "exists"],
    ["null in it", [null]],
    ["text in it", ["exists"]],
    ["nothing in it", [{}]],
    ["an unknown kind", [{ exist: ["cards", "a"] }]],
    ["two kinds at once", [{ exists: ["cards", "a"], absent: ["cards", "a"] }]],
    ["no list of names", [{ exists: "cards" }]],
    ["too few names", [{ exists: ["cards"] }]],
    ["too many", [{ absent: ["cards", "a", "b"] }]],
    ["no value", [{ equal: ["cards", "a", "title"] }]],
    ["a name that is a number", [{ exists: ["cards", 7] }]],
    ["since on another kind", [{ exists: ["cards", "a"], since: { epoch: 1, seq: 1, tag: 1 } }]],
    ["a since that is none", [{ unchanged: ["cards", "a"], since: 7 }]],
    ["half a since", [{ unchanged: ["cards", "a"], since: { epoch: 1 } }]],
  ];
  for (const [what, require] of requires) {
    it(`refuses a require with ${what}`, async () => {
      const { server, board } = await ready();
      const loose = board as unknown as Loose;
      refused(() => loose.set!("cards", "a", { title: "x" }, { require }), "invalid", /require|must be a string|precondition|since/);
      expect(board.get("cards", "a")?.title).toBe("A");
      expect(server.frames("push")).toEqual([]);
    });
  }

  it("refuses misspelt options, and functions that are none", async () => {
    const { board } = await ready();
    const loose = board as unknown as Loose;
    refused(() => loose.set!("cards", "a", { title: "x" }, { requires: [] }), "invalid", /"requires" is not an option of a change.*require/);
    refused(() => loose.put!("cards", "a", { title: "x" }, { ttl: 5 }), "invalid", /"ttl".*ttlMs/);
    refused(() => loose.delete!("cards", "a", 5), "invalid", /options as an object/);
    refused(() => loose.delete!("cards", "a", null), "invalid", /options as an object/);
    refused(() => loose.set!("cards", "a", { title: "x" }, { ttlMs: "5" }), "invalid", /ttlMs/);
    refused(() => loose.set!("cards", "a", { title: "x" }, { onConflict: {} }), "invalid", /onConflict/);
    refused(() => loose.set!("cards", "a", { title: "x" }, { coalesce: 5 }), "invalid", /coalesce/);
    refused(() => loose.set!("cards", "a", { title: "x" }, { after: {} }), "invalid", /after/);
    refused(() => loose.batch!(undefined), "invalid", /function/);
    refused(() => loose.batch!({}), "invalid", /function/);
    refused(() => loose.increment!("cards", "a", "votes", "2"), "invalid", /integer/);
    refused(() => loose.increment!("cards", "a", "votes", Symbol("s")), "invalid", /integer/);
    refused(() => loose.select!("cards", { filtr: {} }), "invalid", /"filtr".*filter, sortBy, descending/);
    refused(() => loose.select!("cards", null), "invalid", /options/);
    refused(() => loose.select!("cards", { filter: 7 }), "invalid", /filter/);
    refused(() => loose.select!("cards", { sortBy: 7 }), "invalid", /sortBy/);
    refused(() => board.set("cards", "a", { title: "x" }).subscribe(undefined as never), "invalid", /listener/);
    expect(board.get("cards", "a")?.title).toBe("x");
  });

  it("lets through what the application's own function throws", async () => {
    const { board } = await ready();
    const own = new Error("own");
    expect(() => board.batch(() => { throw own; })).toThrow(own);
  });
});
