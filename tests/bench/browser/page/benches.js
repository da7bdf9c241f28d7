// What is measured, inside the page.

import { createClient } from "/npm/index.js";
import { fakeSocket } from "./fake-socket.js";
import { PlainMirror } from "./plain-mirror.js";
import { loadStream } from "./stream.js";

const CHANNEL = "board:main";
const COLLECTION = "cards";
/** The record that selectors watch: the first patch of each message changes it. */
const WATCHED = "card-0";
const PATCHES_PER_MESSAGE = 20;

/** A channel that is live, and how to end it. */
async function openChannel(options) {
  const client = createClient({ token: "dev:ana", ...options });
  const channel = client.channel(CHANNEL);
  await channel.ready();
  return { channel, close: () => client.close() };
}

/** What `useSyncExternalStore` does with `useRecord`'s two functions, without a component. */
function follow(subscribe, getSnapshot) {
  const selector = { value: getSnapshot(), wakes: 0 };
  selector.stop = subscribe(() => {
    const next = getSnapshot();
    if (Object.is(next, selector.value)) return;
    selector.value = next;
    selector.wakes += 1;
  });
  return selector;
}

/** For each size of the document: µs per patch, ours and the plain mirror's, in turns. */
export async function ingest({ sizes, messages, rounds }) {
  const contenders = await Promise.all(
    sizes.map(async (records) => {
      const stream = await loadStream(records, messages);
      return { stream, records, ours: Infinity, plain: Infinity };
    }),
  );
  for (let round = 0; round < rounds; round++) {
    for (const contender of contenders) {
      contender.ours = Math.min(contender.ours, await ingestOurs(contender.stream));
      contender.plain = Math.min(contender.plain, await ingestPlain(contender));
      await rest();
    }
  }
  const patches = messages * PATCHES_PER_MESSAGE;
  return contenders.map(({ ours, plain }) => ({ ours: (ours * 1e3) / patches, plain: (plain * 1e3) / patches }));
}

async function ingestOurs(stream) {
  const Socket = fakeSocket(stream);
  const { channel, close } = await openChannel({ url: "http://127.0.0.1", WebSocket: Socket });
  const selector = follow(
    (wake) => channel.watch(COLLECTION, WATCHED, wake),
    () => channel.get(COLLECTION, WATCHED),
  );
  const socket = Socket.open;
  const start = performance.now();
  for (const message of stream.patches) socket.receive(message);
  const took = performance.now() - start;
  check(selector, stream);
  selector.stop();
  close();
  return took;
}

async function ingestPlain({ stream, records }) {
  const initial = Array.from({ length: records }, (_, at) => ({
    id: `card-${at}`,
    column: `column-${at % 7}`,
    done: false,
    position: at + 0.5,
    title: `Card number ${at} of the board`,
  }));
  const { epoch, from } = JSON.parse(stream.json[0])[0];
  const mirror = new PlainMirror(initial, epoch, from);
  const selector = follow(
    (wake) => mirror.watch(WATCHED, wake),
    () => mirror.get(WATCHED),
  );
  const start = performance.now();
  for (const message of stream.json) mirror.receive(message);
  const took = performance.now() - start;
  check(selector, stream);
  return took;
}

/** Each message woke the selector, and it shows what the last one says. */
function check({ value, wakes }, stream) {
  const last = JSON.parse(stream.json.at(-1)).findLast(({ id }) => id === WATCHED);
  if (wakes !== stream.patches.length || value.title !== last.set.title) {
    throw new Error(`${wakes} wakes of ${stream.patches.length}, ${value.title} instead of ${last.set.title}`);
  }
}

/** For each number of pending mutations of other records: µs from `set` until `get` gives the new record. */
export async function optimistic({ records, pending, rounds }) {
  const EDITS = 50;
  const stream = await loadStream(records, 0);
  const best = pending.map(() => Infinity);
  for (let round = 0; round < rounds; round++) {
    for (const [which, count] of pending.entries()) {
      const { channel, close } = await openChannel({ url: "http://127.0.0.1", WebSocket: fakeSocket(stream) });
      const edit = (record, title) => {
        channel.set(COLLECTION, `card-${record}`, { title });
        return channel.get(COLLECTION, `card-${record}`).title;
      };
      for (let record = 0; record < count; record++) edit(record, "waiting");
      await rest();
      const start = performance.now();
      for (let at = 0; at < EDITS; at++) {
        if (edit(1_000 + at, `edit ${at}`) !== `edit ${at}`) throw new Error("an edit does not show");
      }
      best[which] = Math.min(best[which], performance.now() - start);
      close();
      await rest();
    }
  }
  return best.map((took) => (took * 1e3) / EDITS);
}

/** µs per patch from the word `start` until all is there: our client's selector, and a socket that reads bytes. */
export async function wholePath({ records, messages, rounds }) {
  const best = { ours: Infinity, bare: Infinity };
  for (let round = 0; round < rounds; round++) {
    best.bare = Math.min(best.bare, await bareSocket(`/${records}/${messages}/${round}b/bare`, messages));
    best.ours = Math.min(best.ours, await ourSocket(`/${records}/${messages}/${round}o`, messages));
    await rest();
  }
  const patches = messages * PATCHES_PER_MESSAGE;
  return { ours: (best.ours * 1e3) / patches, bare: (best.bare * 1e3) / patches };
}

async function bareSocket(path, messages) {
  const socket = new WebSocket(`ws://${location.host}${path}`);
  socket.binaryType = "arraybuffer";
  await new Promise((resolve) => (socket.onopen = resolve));
  let left = messages;
  let seen = 0;
  const done = new Promise((resolve) => {
    socket.onmessage = ({ data }) => {
      const bytes = new Uint8Array(data);
      seen += bytes[0] + bytes[bytes.length - 1];
      left -= 1;
      if (left === 0) resolve();
    };
  });
  const took = await timed(path, done);
  socket.close();
  return seen > 0 ? took : Infinity;
}

async function ourSocket(path, messages) {
  const { channel, close } = await openChannel({ url: `http://${location.host}${path}` });
  const done = new Promise((resolve) => {
    const selector = follow(
      (wake) =>
        channel.watch(COLLECTION, WATCHED, () => {
          wake();
          if (selector.wakes === messages) resolve();
        }),
      () => channel.get(COLLECTION, WATCHED),
    );
  });
  const took = await timed(path, done);
  close();
  return took;
}

async function timed(path, done) {
  await rest();
  const start = performance.now();
  void fetch(`/start/${path.split("/")[3]}`);
  await done;
  return performance.now() - start;
}

/** Lets what was left to do be done, so that it is not in the next figure. */
function rest() {
  return new Promise((resolve) => setTimeout(resolve, 20));
}
