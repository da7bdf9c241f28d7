// Installs the tarball beside the consumers' tools. It is not in the lockfile, which would pin its hash; and it is
// no link into this repository, in which more would be found than a stranger gets.

import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { installed, tarball } from "./paths.js";

rmSync(installed, { recursive: true, force: true });
mkdirSync(installed, { recursive: true });
execFileSync("tar", ["--extract", "--gzip", "--strip-components=1", "--file", tarball(), "--directory", installed]);
