// The same scenarios over another transport, in a process of their own: test files have one each.

process.env.TEST_TRANSPORT = "sse";
await import("./scenarios.test.js");
