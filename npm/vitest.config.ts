import { defineConfig } from "vitest/config";

// The tests run what is published: the built files and the real wasm.
export default defineConfig({
  test: {
    include: ["tests/**/*.test.{ts,tsx}"],
    testTimeout: 20_000,
    // A busy machine takes longer than a second to start a server.
    expect: { poll: { timeout: 10_000 } },
  },
});
