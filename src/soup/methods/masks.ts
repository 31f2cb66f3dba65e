// Random masks of DARE and DELLA. Specified, so that a seed means the same soup on every host, in any order of modules, and
// whichever rows are read first:
//
//   key    = FNV-1a, 64 bits, of the UTF-8 bytes of `${seed}/${adapter}/${tensor}/${path}`
//   state  = two outputs of splitmix64 started at key + row (mod 2^64), low word before high word
//   row    = xoshiro128** from this state, one output per column in order; the element is kept if output < keep · 2^32
//
// adapter: place in the merge, from 0. tensor: "a" or "b" where a method prunes factors, "delta" where it prunes B A.
import { Random, splitmix64 } from "../../math/random.ts";

/** One row of one tensor of one adapter. */
export interface MaskRow {
  readonly adapter: number;
  readonly path: string;
  readonly tensor: "a" | "b" | "delta";
  readonly row: number;
}

/**
 * Fills `mask` with 1 where an element is kept and 0 where not.
 * @param keep probability of each element, or of all
 */
export type MaskSource = (row: MaskRow, keep: number | Float64Array, mask: Uint8Array) => void;

/** The generator specified above. */
export function seededMasks(seed: number): MaskSource {
  let keyText = "";
  let key = 0n;
  return ({ adapter, path, tensor, row }, keep, mask) => {
    const text = `${seed}/${adapter}/${tensor}/${path}`;
    if (text !== keyText) {
      keyText = text;
      key = fnv1a64(text);
    }
    const random = startStream(key + BigInt(row));
    for (let col = 0; col < mask.length; col++) {
      const p = typeof keep === "number" ? keep : keep[col]!;
      mask[col] = random.nextUint32() < p * 4294967296 ? 1 : 0;
    }
  };
}

function startStream(seed: bigint): Random {
  const next = splitmix64(seed);
  const [first, second] = [next(), next()];
  return Random.fromState([low(first), high(first), low(second), high(second)]);
}

function low(bits: bigint): number {
  return Number(bits & 0xffffffffn);
}

function high(bits: bigint): number {
  return Number(bits >> 32n);
}

/** Fowler, Noll and Vo (http://www.isthe.com/chongo/tech/comp/fnv/). */
function fnv1a64(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) {
    hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  }
  return hash;
}
