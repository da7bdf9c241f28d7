import { follow } from "./follow.js";

follow("README.md", undefined, {
  folder: "tests/chaos-proxy",
  before: ["cargo init --lib --name app"],
  ports: ["7500", "7501"],
  compiled: ["rust"],
});
