// Publishes the schema of the wire format beside the code: as it is, for people who write their own
// client, and as data, for `tidewire/debug`.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";

import protobuf from "protobufjs";

const source = new URL("../../sdk-core/proto/tidewire.proto", import.meta.url);
const target = new URL("../dist/proto/", import.meta.url);

mkdirSync(target, { recursive: true });
copyFileSync(source, new URL("tidewire.proto", target));

const { root } = protobuf.parse(readFileSync(source, "utf8"));
const schema = {};
for (const message of root.lookup("tidewire.v1").nestedArray) {
  schema[message.name] = Object.fromEntries(
    message.fieldsArray.map(({ id, name, type, repeated }) => [id, { name, type, ...(repeated ? { repeated } : {}) }]),
  );
}
writeFileSync(new URL("schema.js", target), `export default ${JSON.stringify(schema)};\n`);
