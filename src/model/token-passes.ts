// Passes over one token of one sequence, as a text is made of: a backend that can repeat what was recorded for the token before
// is spared the calls. One capture for each cache.
import type { KvCache } from "../backend/backend.ts";
import type { Capture, Captures } from "../backend/captures.ts";
import type { Banks } from "./row-banks.ts";

export class TokenPasses {
  readonly #captures: Captures;
  readonly #kept = new WeakMap<KvCache, { readonly banks: Banks; readonly capture: Capture }>();

  constructor(captures: Captures) {
    this.#captures = captures;
  }

  /** Records a pass: as the last one with the same cache and banks, or by `record`, which nothing interrupts. */
  record(id: number, position: number, cache: KvCache, banks: Banks, record: () => void): void {
    const kept = this.#kept.get(cache);
    if (kept?.banks === banks && this.#captures.replay(kept.capture, id, position)) return;
    this.#captures.start();
    let capture: Capture | undefined;
    try {
      record();
    } finally {
      capture = this.#captures.finish();
    }
    if (capture === undefined) this.#kept.delete(cache);
    else this.#kept.set(cache, { banks, capture });
  }
}
