// The same scenarios with the other codec, in a process of their own: test files have one each.

process.env.TEST_CODEC = "json";
await import("./scenarios.test.js");
