// Speculative decoding without a second model: decides how many expected tokens (lookup.ts) the next pass runs ahead. The pass
// gives the logits after each; sampling then goes through them as if they had been computed one by one, and stops where the
// text goes another way. Since a pass over several tokens gives the same bits, the text is the same; only passes are saved.
//
// A pass over k + 1 tokens pays if it yields more tokens than it costs passes: Σ p^i, i = 0..k, against its time over that of a
// pass over one. Both are observed: p by comparing every token with what was expected, also while nothing is run ahead.
import { Lookup } from "./lookup.ts";
import type { ResolvedSpeculation } from "./options.ts";

/** Tokens ahead that are considered: with the token before them they fill panels of 4. */
const LENGTHS = [3, 7, 15] as const;
/** A pass must promise this much more than it costs. */
const MARGIN = 1.1;
/** Weight of a new observation of time. */
const WEIGHT = 0.3;
/** What a token ahead is believed to cost, in passes, before it was measured. */
const BELIEVED = 0.15;
/** A measured cost is believed in less with every pass, so that one bad measurement does not last. */
const DOUBT = 0.999;

/** Times of passes by number of tokens; one for all texts of a model. */
export class PassCosts {
  /** Of a pass over one token, in ms; 0: unknown. */
  #one = 0;
  /** What one token ahead costs, in passes. */
  #ahead: number = BELIEVED;
  #isMeasured = false;

  /** A pass over `n` tokens took so long. */
  observe(n: number, ms: number): void {
    if (n === 1) {
      this.#one = this.#one === 0 ? ms : this.#one + WEIGHT * (ms - this.#one);
      if (this.#ahead > BELIEVED) this.#ahead = BELIEVED + (this.#ahead - BELIEVED) * DOUBT;
    } else if (this.#one > 0) {
      const ahead = Math.max(0, ms / this.#one - 1) / (n - 1);
      this.#ahead = this.#isMeasured ? this.#ahead + WEIGHT * (ahead - this.#ahead) : ahead;
      this.#isMeasured = true;
    }
  }

  /** Of a pass with `k` tokens ahead, in passes over one. */
  of(k: number): number {
    return 1 + k * this.#ahead;
  }
}

export class Speculator {
  readonly #options: ResolvedSpeculation | undefined;
  readonly #costs: PassCosts;
  readonly #lookup: Lookup;

  /** @param options `undefined`: nothing is run ahead */
  constructor(options: ResolvedSpeculation | undefined, costs: PassCosts) {
    this.#options = options;
    this.#costs = costs;
    this.#lookup = new Lookup(options?.ngram ?? 1);
  }

  /** The text so far. */
  begin(tokens: readonly number[]): void {
    if (this.#options !== undefined) this.#lookup.begin(tokens);
  }

  /** The text's next token. */
  push(token: number): void {
    if (this.#options !== undefined) this.#lookup.push(token);
  }

  /** Tokens for the next pass to run ahead, at most `room`; often none. */
  guess(room: number): readonly number[] {
    if (this.#options === undefined) return [];
    const { chance } = this.#lookup;
    const limit = Math.min(room, this.#options.tokens);
    let best = 0;
    let bestGain = MARGIN as number;
    for (const length of LENGTHS) {
      const k = Math.min(length, limit);
      const gain = expectedTokens(chance, k) / this.#costs.of(k);
      if (k <= best || gain <= bestGain) continue;
      best = k;
      bestGain = gain;
    }
    return this.#lookup.guess(best);
  }
}

/** Σ p^i, i = 0..k */
function expectedTokens(p: number, k: number): number {
  return p === 1 ? k + 1 : (1 - p ** (k + 1)) / (1 - p);
}
