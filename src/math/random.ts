// The library's random generator, specified so that a seed means the same on every host and in every version:
// xoshiro128** 1.1 (Blackman and Vigna, 2018, https://prng.di.unimi.it/xoshiro128starstar.c), its 128 bits of state filled by
// splitmix64 (https://prng.di.unimi.it/splitmix64.c), low word before high word of each output. Not for cryptography.
import { TureenError } from "../errors.ts";

/** A seeded stream of random numbers. */
export class Random {
  readonly #state: Uint32Array = new Uint32Array(4);

  /**
   * @param seed integer in 0..2^53-1
   * @throws TureenError `OPTION_INVALID`
   */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new TureenError("OPTION_INVALID", "the seed is invalid", {
        expected: "a whole number in 0..2^53-1",
        found: String(seed),
      });
    }
    const next = splitmix64(BigInt(seed));
    for (let i = 0; i < 4; i += 2) {
      const bits = next();
      this.#state[i] = Number(bits & 0xffffffffn);
      this.#state[i + 1] = Number(bits >> 32n);
    }
  }

  /** A generator with exactly this state (four 32-bit words, not all zero): for known-answer tests and for resuming. */
  static fromState(state: readonly [number, number, number, number]): Random {
    const random = new Random(0);
    random.#state.set(state);
    return random;
  }

  /** The current state. */
  get state(): readonly [number, number, number, number] {
    const [a, b, c, d] = this.#state;
    return [a!, b!, c!, d!];
  }

  /** Next 32 bits, 0..2^32-1. */
  nextUint32(): number {
    const s = this.#state;
    const result = Math.imul(rotateLeft(Math.imul(s[1]!, 5), 7), 9) >>> 0;
    const t = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= t;
    s[3] = rotateLeft(s[3]!, 11);
    return result;
  }

  /** Uniform in [0, 1), a multiple of 2^-53: 27 high bits of one output, then 26 high bits of the next. */
  nextFloat(): number {
    const high = this.nextUint32() >>> 5;
    const low = this.nextUint32() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }
}

/** Returns a function that gives splitmix64's outputs in turn. */
export function splitmix64(seed: bigint): () => bigint {
  const mask = 0xffffffffffffffffn;
  let state = seed & mask;
  return () => {
    state = (state + 0x9e3779b97f4a7c15n) & mask;
    let z = state;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
    return z ^ (z >> 31n);
  };
}

function rotateLeft(x: number, bits: number): number {
  return (x << bits) | (x >>> (32 - bits));
}
