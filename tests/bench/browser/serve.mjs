// What the page loads: itself, the built package, the stream of messages; and a WebSocket that sends that stream.

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const here = new URL("./", import.meta.url);
const roots = { page: new URL("page/", here), npm: new URL("../../../npm/dist/", here) };
const types = { ".js": "text/javascript", ".wasm": "application/wasm" };

const program =
  process.env.BENCH_PROGRAM ??
  fileURLToPath(new URL("../../../target/release/tidewire-bench", here));

export async function serve() {
  const streams = new Map();
  const stream = (records, messages) => {
    const key = `${records}/${messages}`;
    if (!streams.has(key)) streams.set(key, makeStream(records, messages));
    return streams.get(key);
  };
  const server = createServer((request, response) => {
    answer(request.url, stream).then(
      ({ type, body }) => {
        response.writeHead(200, {
          "content-type": type,
          // An isolated page has a finer clock.
          "cross-origin-opener-policy": "same-origin",
          "cross-origin-embedder-policy": "require-corp",
        });
        response.end(body);
      },
      (error) => {
        response.writeHead(404);
        response.end(String(error));
      },
    );
  });
  server.on("upgrade", (request, socket) => void upgrade(request, socket, stream));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function answer(url, stream) {
  if (url === "/") return { type: "text/html", body: "<!doctype html><title>bench</title>" };
  if (url === "/favicon.ico") return { type: "image/x-icon", body: "" };
  const [, root, ...path] = url.split("/");
  if (root === "start") {
    starters.get(path[0])();
    starters.delete(path[0]);
    return { type: "text/plain", body: "" };
  }
  if (root === "stream") {
    const { bytes } = await stream(...path.map(Number));
    return { type: "application/octet-stream", body: bytes };
  }
  const file = new URL(path.join("/"), roots[root]);
  return { type: types[extname(file.pathname)] ?? "text/plain", body: await readFile(file) };
}

async function makeStream(records, messages) {
  const { stdout: bytes } = await promisify(execFile)(program, ["--stream", records, messages].map(String), {
    encoding: "buffer",
    maxBuffer: 1 << 30,
  });
  let at = 0;
  const number = () => {
    at += 4;
    return bytes.readUInt32LE(at - 4);
  };
  const message = () => {
    const length = number();
    at += length;
    return bytes.subarray(at - length, at);
  };
  const list = () => Array.from({ length: number() }, message);
  const [[welcome], snapshot, patches] = [list(), list(), list()];
  return { bytes, welcome, snapshot, patches };
}

/** What sends the patches of a run, once the page has asked for `/start/RUN`. */
const starters = new Map();

/**
 * A socket at `/RECORDS/MESSAGES/RUN/…`: welcome after the first word of the client, snapshot after the second.
 * `…/bare` is a client that says nothing.
 */
async function upgrade(request, socket, stream) {
  const [, records, messages, run] = request.url.split("/");
  const { welcome, snapshot, patches } = await stream(Number(records), Number(messages));
  const accept = createHash("sha1")
    .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64");
  const protocol = request.headers["sec-websocket-protocol"];
  const head = [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Accept: ${accept}`,
    ...(protocol ? [`Sec-WebSocket-Protocol: ${protocol}`] : []),
  ];
  socket.setNoDelay(true);
  socket.on("error", () => socket.destroy());
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  const answers = [framed(welcome), Buffer.concat(snapshot.map(framed))];
  // Words are small and the client waits for each answer: one read is one word.
  socket.on("data", () => {
    const next = answers.shift();
    if (next) socket.write(next);
  });
  const all = Buffer.concat(patches.map(framed));
  starters.set(run, () => socket.write(all));
}

/** An unmasked binary message, RFC 6455 §5.2. */
function framed(message) {
  const { length } = message;
  const head =
    length < 126
      ? Buffer.from([0x82, length])
      : length < 65_536
        ? Buffer.from([0x82, 126, length >> 8, length & 255])
        : Buffer.from([0x82, 127, 0, 0, 0, 0, length >>> 24, (length >> 16) & 255, (length >> 8) & 255, length & 255]);
  return Buffer.concat([head, message]);
}
