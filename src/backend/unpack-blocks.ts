// Takes the blocks of block-rows.ts apart, for backends that have no kernel for it.
import { BLOCK_BYTES } from "./block-rows.ts";
import { notFinite } from "./check-finite.ts";
import { BLOCK, type QuantizedRows } from "./quantize.ts";

/**
 * Takes rows of blocks apart.
 * @param out of the same type; receives them from row `to`
 * @param row of the matrix with which `bytes` begin, for the message
 * @throws TureenError `WEIGHTS_NOT_FINITE`
 */
export function unpackBlocks(
  name: string,
  bytes: Uint8Array,
  out: QuantizedRows,
  row: number,
  to = 0,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = BLOCK_BYTES[out.m === undefined ? "Q8" : "Q4"];
  const first = to * out.blocks;
  for (let block = 0; block < bytes.byteLength / size; block++) {
    const at = block * size;
    const head = view.getUint32(at, true);
    const d = out.m === undefined ? head : head << 16;
    const m = out.m === undefined ? 0 : head & 0xffff_0000;
    if (isInfinite(d) || isInfinite(m)) {
      const where = `row ${row + Math.floor(block / out.blocks)}, block ${block % out.blocks}`;
      throw notFinite(name, where);
    }
    out.d[first + block] = toFloat(d);
    if (out.m !== undefined) out.m[first + block] = toFloat(m);
    const q = out.q.subarray((first + block) * BLOCK, (first + block + 1) * BLOCK);
    if (out.m === undefined) for (let j = 0; j < BLOCK; j++) q[j] = view.getInt8(at + 4 + j);
    else {
      for (let j = 0; j < BLOCK / 2; j++) {
        const byte = view.getUint8(at + 4 + j);
        q[j] = byte & 15;
        q[j + BLOCK / 2] = byte >> 4;
      }
    }
  }
}

/** Of f32 bits: infinite, or no number. */
function isInfinite(bits: number): boolean {
  return (bits & 0x7f80_0000) === 0x7f80_0000;
}

const float = new Float32Array(1);
const floatBits = new Int32Array(float.buffer);

function toFloat(bits: number): number {
  floatBits[0] = bits;
  return float[0]!;
}
