// Makes the moving picture of the README: two people on one board, through the death of its server.
// `npm run picture` writes docs/board.gif.

import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import gifenc from "gifenc";
import { PNG } from "pngjs";
import { BoardPage, converged, launch } from "./support/browser.js";
import { BoardServer } from "./support/server.js";

const { GIFEncoder, applyPalette, quantize } = gifenc;

const OUT = fileURLToPath(new URL("../../docs/board.gif", import.meta.url));
const PAGE = { viewport: { width: 900, height: 560 } };
const GAP = 12;
/** Between two frames of the recording; what nothing changes in is shown longer instead. */
const FRAME_MS = 150;
/** How long a moment stands, so that eyes can follow. */
const REST_MS = 900;

const rest = (ms = REST_MS) => new Promise((resolve) => setTimeout(resolve, ms));

/** Takes both pages side by side until it is told to stop. */
function record(pages) {
  const frames = [];
  let going = true;
  const done = (async () => {
    while (going) {
      const begun = Date.now();
      const shots = await Promise.all(pages.map((each) => each.page.screenshot()));
      const image = beside(shots.map((shot) => PNG.sync.read(shot)));
      const last = frames.at(-1);
      if (last?.image.data.equals(image.data)) last.ms += FRAME_MS;
      else frames.push({ image, ms: FRAME_MS });
      await rest(Math.max(0, FRAME_MS - (Date.now() - begun)));
    }
  })();
  return async () => {
    going = false;
    await done;
    return frames;
  };
}

function beside(images) {
  const width = images.reduce((sum, each) => sum + each.width + GAP, -GAP);
  const whole = new PNG({ width, height: images[0].height });
  whole.data.fill(0xff);
  let x = 0;
  for (const image of images) {
    PNG.bitblt(image, whole, 0, 0, image.width, image.height, x, 0);
    x += image.width + GAP;
  }
  return whole;
}

function encode(frames) {
  const gif = GIFEncoder();
  // One palette for all: colours of cards stay the same from frame to frame.
  const palette = quantize(frames[Math.floor(frames.length / 2)].image.data, 128);
  let before;
  for (const { image, ms } of frames) {
    const pixels = applyPalette(image.data, palette);
    // What did not change is left transparent, which packs well.
    const changed = before ? pixels.map((pixel, at) => (pixel === before[at] ? palette.length : pixel)) : pixels;
    gif.writeFrame(changed, image.width, image.height, {
      palette: [...palette, [0, 0, 0]],
      delay: Math.min(ms, 1500),
      transparent: true,
      transparentIndex: palette.length,
      dispose: 1,
    });
    before = pixels;
  }
  gif.finish();
  return gif.bytes();
}

const server = await BoardServer.start();
const browser = await launch();
let stop = async () => [];
try {
  const [ana, bo] = [
    await BoardPage.open(browser, server.url, "Ana", { device: PAGE }),
    await BoardPage.open(browser, server.url, "Bo", { device: PAGE }),
  ];
  stop = record([ana, bo]);
  await rest();
  await ana.rename("welcome", "Ana writes, Bo reads along");
  await rest();
  await bo.drag("drag", "doing");
  await rest();
  await server.kill();
  await ana.rename("edit", "Written while the server is dead");
  await rest(2 * REST_MS);
  await server.run();
  await converged(ana, bo);
  await rest(2 * REST_MS);
  const frames = await stop();
  await writeFile(OUT, encode(frames));
  console.log(`${frames.length} frames in ${OUT}`);
} finally {
  await stop();
  await browser.close();
  await server.stop();
}
