// The same scenarios over another transport and with the other codec, in a process of their own: test files have one each.

process.env.TEST_TRANSPORT = "sse";
process.env.TEST_CODEC = "json";
await import("./scenarios.test.js");
