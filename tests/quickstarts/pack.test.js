// What `cargo xtask pack` prints is pasted, line by line, into terminals of empty projects; the README shows the same lines.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { copyFileSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { given, repository } from "./environment.js";
import { fences } from "./markdown.js";

const run = promisify(execFile);
const printed = (await readFile(given("TEST_PASTE"), "utf8")).trimEnd().split("\n");

let desk;
before(async () => void (desk = await mkdtemp(join(tmpdir(), "tidewire-pack-"))));
after(() => rm(desk, { recursive: true }));

/** Types a line as it is, in a real shell with the real npm and cargo. */
function types(line, cwd) {
  const env = {
    ...process.env,
    CARGO_TARGET_DIR: given("TEST_TARGET_DIR"),
    CARGO_INSTALL_ROOT: join(desk, "installed"),
    CARGO_PROFILE_DEV_DEBUG: "line-tables-only",
    CARGO_NET_OFFLINE: "true",
    npm_config_prefer_offline: "true",
    npm_config_audit: "false",
    npm_config_fund: "false",
  };
  return run("sh", ["-c", line], { cwd, env, maxBuffer: 1 << 24 }).catch((error) => {
    throw new Error(`${line}\n${error.stderr}`);
  });
}

/** Dependencies as the repository compiles them: most are there then. */
const AS_BUILT = `--config 'profile.dev.package."*".debug=false'`;

const lines = (start) => {
  const found = printed.filter((line) => line.startsWith(start));
  assert.ok(found.length > 0, `nothing printed begins with ${start}`);
  return found;
};

const project = (name) => {
  const dir = join(desk, name);
  mkdirSync(dir);
  return dir;
};

test("the README shows what is printed", async () => {
  const shown = fences(await readFile(repository("README.md"), "utf8")).find(({ text }) => text.includes("cargo install --path"));
  const short = (line) => line.replaceAll(/'[^']*\/([^']*)'/g, "'…/$1'");
  assert.deepEqual(shown?.text.trimEnd().split("\n").map((line) => line.trim()), printed.map(short));
});

test("a JavaScript project imports the package", async () => {
  const dir = project("js");
  await types("npm init -y", dir);
  for (const line of lines("npm ")) await types(line, dir);
  await writeFile(join(dir, "use.mjs"), 'import { createClient } from "tidewire";\ncreateClient({ url: "http://127.0.0.1:1" }).close();\n');
  await types("node use.mjs", dir);
});

test("a Rust project compiles with the crates, and the program installs", async () => {
  const dir = project("rust");
  await types("cargo init --name app", dir);
  // The versions of the repository's lockfile: these are downloaded.
  copyFileSync(repository("Cargo.lock"), join(dir, "Cargo.lock"));
  for (const line of [...lines("mkdir "), ...lines("cargo add ")]) await types(line, dir);
  await writeFile(
    join(dir, "src/main.rs"),
    'fn main() {\n    let _client = tidewire::Client::builder("http://127.0.0.1:1");\n    let _server = tidewire_server::Config::default();\n}\n',
  );
  await types(`cargo build ${AS_BUILT}`, dir);
  // Not optimised: that the line works is the question, and this was compiled for others.
  for (const line of lines("cargo install ")) await types(`${line} --debug ${AS_BUILT}`, dir);
  const { stdout } = await types(`'${join(desk, "installed/bin/tidewire-server")}' --version`, dir);
  assert.match(stdout, /^tidewire-server \d/);
});
