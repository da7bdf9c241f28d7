import { fileURLToPath } from "node:url";

// The packages are installed further up, where Next would not look by itself.
const packages = fileURLToPath(new URL("../../", import.meta.url));

export default { turbopack: { root: packages }, outputFileTracingRoot: packages, devIndicators: false };
