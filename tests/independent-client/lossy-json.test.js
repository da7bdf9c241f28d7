// The same with the other codec, in a process of its own: test files have one each.

process.env.TEST_CODEC = "json";
await import("./lossy.test.js");
