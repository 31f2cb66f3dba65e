// Rotary tables of a decoder, and which of them a layer turns q and k by: all by one, or sliding layers by another, or some by none.
import type { Backend, Rope } from "../backend/backend.ts";
import type { ModelConfig } from "./config.ts";

export class Ropes {
  readonly #backend: Backend;
  readonly #config: ModelConfig;
  #length = 0;
  #full: Rope | undefined;
  /** Of sliding layers, where there are any. */
  #local: Rope | undefined;

  constructor(backend: Backend, config: ModelConfig) {
    this.#backend = backend;
    this.#config = config;
  }

  /** Makes them reach over so many positions. @throws TureenError `OUT_OF_MEMORY`; those of before stay */
  grow(length: number): void {
    if (length <= this.#length) return;
    const { headDim, ropeTheta: theta, ropeScaling: scaling, sliding } = this.#config;
    const full = this.#backend.createRope({ headDim, theta, scaling, length });
    let local: Rope | undefined;
    if (sliding !== undefined) {
      const own = { headDim, theta: sliding.ropeTheta, scaling: undefined, length };
      try {
        local = this.#backend.createRope(own);
      } catch (error) {
        this.#backend.free(full);
        throw error;
      }
    }
    this.free();
    this.#full = full;
    this.#local = local;
    this.#length = length;
  }

  /** `undefined` for a layer that does not rotate. */
  of(layer: number): Rope | undefined {
    const { noRopeLayers, sliding } = this.#config;
    if (noRopeLayers.includes(layer)) return undefined;
    return sliding?.layers.includes(layer) ? this.#local : this.#full;
  }

  free(): void {
    for (const rope of [this.#full, this.#local]) if (rope !== undefined) this.#backend.free(rope);
    this.#full = undefined;
    this.#local = undefined;
    this.#length = 0;
  }
}
