// `tidewire/testing` against the real program, which `cargo xtask test npm` builds.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { WebSocket } from "ws";

import type { Channel, Client } from "../dist/index.js";
import { createClient, TidewireError } from "../dist/index.js";
import type { TestServer } from "../dist/testing.js";
import { startServer } from "../dist/testing.js";

interface Board {
  cards: { title: string };
}

const NAME = "board:main";

function builtProgram(): string {
  const dir = process.env["TEST_BIN_DIR"];
  if (!dir) throw new Error("TEST_BIN_DIR must say where tidewire-server is: run `cargo xtask test npm`");
  const program = join(dir, "tidewire-server");
  if (!existsSync(program)) throw new Error(`there is no ${program}: run cargo build -p tidewire-server`);
  return program;
}

let program: string;
beforeAll(() => {
  program = builtProgram();
});

/** Quick to come back, as tests want it. */
function visit(server: TestServer, name: string): { client: Client; board: Channel<Board> } {
  const client = createClient({ url: server.url, token: server.token(name), WebSocket, retry: { baseMs: 5, maxMs: 20 } });
  onTestFinished(() => client.close());
  return { client, board: client.channel<Board>(NAME) };
}

async function folder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "tidewire-testing-"));
  onTestFinished(() => rm(dir, { recursive: true }));
  return dir;
}

/** Writes a program that a test starts in place of the server. */
async function script(text: string): Promise<string> {
  const path = join(await folder(), "program");
  await writeFile(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return path;
}

async function answers(url: string): Promise<boolean> {
  return fetch(`${url}/health/live`).then(
    (response) => response.ok,
    () => false,
  );
}

function withEnvironment(changes: Record<string, string | undefined>): void {
  for (const [name, value] of Object.entries(changes)) {
    const before = process.env[name];
    const set = (to: string | undefined): void => {
      if (to === undefined) delete process.env[name];
      else process.env[name] = to;
    };
    set(value);
    onTestFinished(() => set(before));
  }
}

it("startServer refuses options that do not exist", async () => {
  await expect(startServer({ programm: program } as object)).rejects.toMatchObject({ code: "invalid", message: expect.stringMatching(/programm.*program, config, startMs/) });
});

describe("a server for a test", () => {
  it("serves clients, and is gone when its scope is left", async () => {
    let url: string;
    {
      await using server = await startServer({ program });
      url = server.url;
      const ana = visit(server, "ana");
      await ana.board.put("cards", "a", { title: "hello" }).committed;
      const ben = visit(server, "ben");
      await ben.board.ready();
      expect(ben.board.get("cards", "a")?.title).toBe("hello");
      expect(ben.client.principal).toBe("ben");
    }
    expect(await answers(url)).toBe(false);
  });

  it("is found by TIDEWIRE_SERVER, then on the PATH", async () => {
    withEnvironment({ TIDEWIRE_SERVER: program, PATH: "/nowhere" });
    await (await startServer()).stop();
    withEnvironment({ TIDEWIRE_SERVER: undefined, PATH: process.env["TEST_BIN_DIR"] });
    await (await startServer()).stop();
  });

  it("that is not there is an error that says how to install it, or what is wrong", async () => {
    withEnvironment({ TIDEWIRE_SERVER: undefined, PATH: "/nowhere" });
    const error = await startServer().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(TidewireError);
    expect(error).toMatchObject({
      code: "server_missing",
      message: expect.stringContaining("cargo install tidewire-server"),
    });
    withEnvironment({ TIDEWIRE_SERVER: "/no/such/server" });
    await expect(startServer()).rejects.toThrow("there is no program /no/such/server: correct TIDEWIRE_SERVER");
    await expect(startServer({ program: "/no/other" })).rejects.toThrow("/no/other: correct the option `program`");
  });

  it("that does not start tells what it wrote", async () => {
    const config = join(await folder(), "tidewire.toml");
    await writeFile(config, '[namespace.board]\nkind = "heap"\n');
    await expect(startServer({ program, config })).rejects.toMatchObject({
      code: "server_failed",
      message: expect.stringMatching(/ended with 2\n[^]*namespace\.board\.kind/),
    });
  });

  it("that never listens is given up, and ends", async () => {
    const pid = join(await folder(), "pid");
    const silent = await script(`echo $$ > ${pid}; echo "thinking" >&2; exec sleep 600`);
    await expect(startServer({ program: silent, startMs: 4000 })).rejects.toMatchObject({
      code: "server_failed",
      message: expect.stringMatching(/did not listen within 4000 ms\nthinking/),
    });
    const started = Number(await readFile(pid, "utf8"));
    await expect.poll(() => isAlive(started)).toBe(false);
  });

  it("is not set up by what is set for another one", async () => {
    withEnvironment({ TIDEWIRE_LISTEN: "nonsense", TIDEWIRE_DEV_AUTH: "false" });
    await (await startServer({ program })).stop();
  });

  it("has a configuration where one is given", async () => {
    const config = join(await folder(), "tidewire.toml");
    await writeFile(config, '[namespace.board]\nkind = "state"\n');
    await using server = await startServer({ program, config });
    const { client } = visit(server, "ana");
    await expect(client.channel("other:main").ready()).rejects.toMatchObject({ code: "invalid_channel" });
  });

  it("keeps its log", async () => {
    await using server = await startServer({ program });
    await expect.poll(() => server.log).toContain("accepting clients");
  });
});

describe("the process of a test", () => {
  const code = `
    import { startServer } from ${JSON.stringify(new URL("../dist/testing.js", import.meta.url).href)};
    const server = await startServer({ program: process.argv[1] });
    console.log(server.url);
  `;
  const args = (more = ""): string[] => ["--input-type=module", "-e", code + more, program];

  it("that is killed takes its server along", async () => {
    const child = spawn(process.execPath, args("setInterval(() => {}, 1000);"), { stdio: ["ignore", "pipe", "inherit"] });
    const [line] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
    expect(await answers(line.trim())).toBe(true);
    child.kill("SIGKILL");
    await expect.poll(() => answers(line.trim())).toBe(false);
  });

  it("that stops nothing ends all the same, and its server too", async () => {
    const { stdout } = await promisify(execFile)(process.execPath, args());
    await expect.poll(() => answers(stdout.trim())).toBe(false);
  });
});

describe("faults", () => {
  it("offline: edits wait, and are committed afterwards", async () => {
    await using server = await startServer({ program });
    const { client, board } = visit(server, "ana");
    await board.ready();
    const outage = await server.faults.offline();
    await expect.poll(() => client.connection.state).not.toBe("connected");
    const edit = board.put("cards", "a", { title: "offline" });
    expect(board.get("cards", "a")?.title).toBe("offline");
    await expect.poll(() => outage.struck()).toBeGreaterThan(1);
    expect(edit.status).toBe("queued");
    await outage.end();
    await edit.committed;
    await outage.end();
  });

  it("rejects the next change with a reason, and only that", async () => {
    await using server = await startServer({ program });
    const { board } = visit(server, "ana");
    await board.ready();
    await server.faults.rejectNext("not today", { principal: "ana" });
    const edit = board.put("cards", "a", { title: "x" });
    await expect(edit.committed).rejects.toMatchObject({ code: "refused", message: expect.stringContaining("not today") });
    expect(board.get("cards", "a")).toBeUndefined();
    await board.put("cards", "a", { title: "y" }).committed;
  });

  it("of frames strike until they are ended", async () => {
    await using server = await startServer({ program });
    const { board: ana } = visit(server, "ana");
    const { board: ben } = visit(server, "ben");
    await Promise.all([ana.ready(), ben.ready()]);
    {
      await using slow = await server.faults.add({
        principal: "ben",
        direction: "down",
        frames: ["patch"],
        effect: { delay: { ms: 60_000 } },
      });
      await ana.put("cards", "a", { title: "late" }).committed;
      await expect.poll(() => slow.struck()).toBe(1);
      expect(ben.get("cards", "a")).toBeUndefined();
    }
    await server.faults.clear();
    await expect.poll(() => ben.get("cards", "a")?.title).toBe("late");
  });

  it("may be asked for at the same time", async () => {
    await using server = await startServer({ program });
    await Promise.all([1, 2, 3].map(() => server.faults.add({ effect: "duplicate" })));
    expect((await server.faults.replay()).plan.rules.map(({ name }) => name).sort()).toEqual(["rule-1", "rule-2", "rule-3"]);
  });

  it("cut, silence and send away who is named", async () => {
    await using server = await startServer({ program });
    const { client, board } = visit(server, "ana");
    await board.ready();
    const left: string[] = [];
    client.on("connection", ({ state, reason }) => void left.push(`${state} ${reason?.code ?? ""}`));
    await server.faults.cut("ben");
    await server.faults.cut("ana");
    await expect.poll(() => left.some((it) => it.endsWith("network"))).toBe(true);
    await expect.poll(() => client.connection.state).toBe("connected");
    await server.faults.goAway("ana");
    await expect.poll(() => left.some((it) => it.endsWith("going_away"))).toBe(true);
    await expect.poll(() => client.connection.state).toBe("connected");
    await server.faults.halfOpen("ana");
    const { plan } = await server.faults.replay();
    expect(plan.actions.map(({ action }) => action)).toEqual([
      { cut: { principal: "ben" } },
      { cut: { principal: "ana" } },
      { go_away: { principal: "ana", window_ms: 0 } },
      { half_open: { principal: "ana" } },
    ]);
  });

  it("open an epoch, in which everything is still there", async () => {
    await using server = await startServer({ program });
    const { board } = visit(server, "ana");
    await board.put("cards", "a", { title: "kept" }).committed;
    const recovered = new Promise((resolve) => board.on("recovered", resolve));
    await server.faults.newEpoch(NAME);
    await recovered;
    expect(board.get("cards", "a")?.title).toBe("kept");
  });

  it("lost history: everything is gone, and clients are told", async () => {
    await using server = await startServer({ program });
    const { board } = visit(server, "ana");
    const edit = board.put("cards", "a", { title: "x" });
    await edit.committed;
    const lost = new Promise((resolve) => board.on("history_lost", resolve));
    const { url } = server;
    await server.loseHistory();
    expect(server.url).toBe(url);
    await lost;
    expect(edit.status).toBe("lost");
    expect(board.get("cards", "a")).toBeUndefined();
  });

  it("that mean nothing are refused with the reason; of a server that is gone, too", async () => {
    await using server = await startServer({ program });
    await expect(server.faults.add({ effect: { delay: { ms: 60_001 } } })).rejects.toMatchObject({
      code: "invalid",
      message: expect.stringContaining("60001 ms is over 60000"),
    });
    await server.faults.add({ name: "mine", effect: "drop", next: 0 });
    await expect(server.faults.add({ name: "mine", effect: "drop" })).rejects.toMatchObject({ code: "invalid" });
    await server.stop();
    await expect(server.faults.cut()).rejects.toMatchObject({ code: "server_failed" });
  });

  it("are done again from a replay", async () => {
    await using server = await startServer({ program });
    await server.faults.set({ seed: 7, rules: [{ name: "lost", frames: ["ack"], effect: "drop" }] });
    const { board } = visit(server, "ana");
    await board.put("cards", "a", { title: "x" }).committed;
    // The patch commits; the ack, which is lost, comes after it.
    await expect.poll(async () => (await server.faults.replay()).struck.length).toBeGreaterThan(0);
    const replay = await server.faults.replay();
    expect(replay.struck[0]).toMatchObject({ principal: "ana", frame: "ack", effect: "drop", rule: "lost" });
    await server.faults.clear();
    expect((await server.faults.replay()).plan.rules).toEqual([]);
    await server.faults.set(replay);
    expect((await server.faults.replay()).plan.seed).toBe(7);
  });

  it("know every kind of frame of the schema", async () => {
    const source = await readFile(new URL("../src/testing-faults.ts", import.meta.url), "utf8");
    const union = /type FrameKind =([^;]*);/.exec(source)?.[1] ?? "";
    const known = [...union.matchAll(/"(\w+)"/g)].map(([, kind]) => kind);
    const text = await readFile(new URL("../dist/proto/tidewire.proto", import.meta.url), "utf8");
    // Comments hold braces as well.
    const schema = text.replaceAll(/\/\/.*/g, "");
    const oneof = /oneof kind \{([^}]*)\}/.exec(schema)?.[1] ?? "";
    const kinds = [...oneof.matchAll(/\w+ (\w+) = \d+;/g)].map(([, kind]) => kind);
    expect(kinds.length).toBeGreaterThan(20);
    expect(known.sort()).toEqual(kinds.sort());
  });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
