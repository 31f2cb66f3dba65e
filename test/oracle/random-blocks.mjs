// Random blocks of the quantized types, to be read by both engines: every bit is random, but the half-precision scales are such that
// values are centred on 0 and spread as wanted. How the bits become numbers is not written here: it is what is compared.
import { toFloat16 } from "./half.mjs";
import { generator } from "./shape.mjs";

/**
 * `scales`: offsets of halves. `spread`: standard deviation of values at scale 1, with the minimum's scale (the second one) at
 * `centre`. `fix` makes what bits alone cannot centre.
 * @type {Record<string, { id: number, values: number, bytes: number, scales: number[], spread: number, centre?: number,
 *   fix?: (block: Buffer) => void }>}
 */
export const RANDOM_BLOCKS = {
  Q4_1: { id: 3, values: 32, bytes: 20, scales: [0, 2], spread: 4.6, centre: -7.5 },
  Q5_0: { id: 6, values: 32, bytes: 22, scales: [0], spread: 9.2 },
  Q5_1: { id: 7, values: 32, bytes: 24, scales: [0, 2], spread: 9.2, centre: -15.5 },
  Q2_K: {
    id: 10,
    values: 256,
    bytes: 84,
    scales: [80, 82],
    spread: 9.8,
    centre: 1.5,
    // a minimum for each scale
    fix: (block) => {
      for (let i = 0; i < 16; i++) block[i] = (block[i] & 15) * 17;
    },
  },
  Q3_K: { id: 11, values: 256, bytes: 110, scales: [108], spread: 43 },
  Q4_K: { id: 12, values: 256, bytes: 144, scales: [0, 2], spread: 258, centre: 7.5 },
  Q5_K: { id: 13, values: 256, bytes: 176, scales: [0, 2], spread: 527, centre: 15.5 },
  Q6_K: { id: 14, values: 256, bytes: 210, scales: [208], spread: 1367 },
  IQ4_NL: { id: 20, values: 32, bytes: 18, scales: [0], spread: 67 },
  IQ4_XS: { id: 23, values: 256, bytes: 136, scales: [0], spread: 1247 },
};

/**
 * @param {string} type of `RANDOM_BLOCKS`
 * @param {string} name the seed
 * @param {number} count of values
 * @param {number} std of values
 */
export function randomBlocks(type, name, count, std) {
  const { values, bytes, scales, spread, centre, fix } = RANDOM_BLOCKS[type];
  const next = generator(`${name} as ${type}`);
  const out = Buffer.alloc((count / values) * bytes);
  for (let at = 0; at < out.length; at += bytes) {
    const block = out.subarray(at, at + bytes);
    for (let i = 0; i < bytes; i++) block[i] = next() & 255;
    fix?.(block);
    // scales of different blocks differ by up to a factor of three
    const scale = (std / spread) * (0.5 + next() / 2 ** 32);
    block.writeUInt16LE(toFloat16(Math.fround(scale)), scales[0]);
    if (centre !== undefined) {
      block.writeUInt16LE(toFloat16(Math.fround(scale * centre)), scales[1]);
    }
  }
  return out;
}
