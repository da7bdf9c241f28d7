/**
 * A program, run by `tidewire/testing`: runs another one for as long as its own standard input is open.
 *
 * The other end of that pipe belongs to the test's process. It closes when that process ends, also when
 * it is killed, and then the server ends too.
 */

import { spawn } from "node:child_process";

const [program = "", ...args] = process.argv.slice(2);
const server = spawn(program, args, { stdio: ["ignore", "inherit", "inherit"] });

server.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
server.on("exit", (code) => process.exit(code ?? 0));

const end = (): void => void server.kill("SIGKILL");
process.stdin.on("close", end).resume();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, end);
