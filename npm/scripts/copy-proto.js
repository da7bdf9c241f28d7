// Publishes the schema of the wire format beside the code, for people who write their own client.
import { copyFileSync, mkdirSync } from "node:fs";

mkdirSync(new URL("../dist/proto/", import.meta.url), { recursive: true });
copyFileSync(
  new URL("../../sdk-core/proto/tidewire.proto", import.meta.url),
  new URL("../dist/proto/tidewire.proto", import.meta.url),
);
