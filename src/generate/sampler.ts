// Chooses the next token from logits. Deterministic on every host: IEEE arithmetic, our own exp and log (exp.ts), a specified
// generator (random.ts), fixed orders of summation and of ties. Knows nothing of text or of models.
import { TureenError } from "../errors.ts";
import { expWeight, log } from "../math/exp.ts";
import { Random } from "../math/random.ts";
import { type ResolvedSampling, resolveSampling, type SamplingOptions } from "./options.ts";
import { selectTop, sortByScore } from "./select-top.ts";

/** A token with the natural logarithm of its probability. */
export interface TokenLogprob {
  readonly token: number;
  readonly logprob: number;
}

/** What `sample` chose. */
export interface SampledToken {
  readonly token: number;
  /** Under the model's own distribution, before any transform. Only with option `logprobs`. */
  readonly logprob?: number;
  /** The most probable tokens of that distribution, best first. Only with option `logprobs` above 0. */
  readonly top?: readonly TokenLogprob[];
}

// Top-p over a whole vocabulary sums weights in buckets of 1/64 of (max - score) / temperature; only the bucket in which the
// sum is reached needs sorting. The last bucket takes all that is farther, at most e^-64 as probable as the best.
const BUCKETS = 4096;
const BUCKETS_PER_UNIT = 64;

/**
 * Samples one sequence: keeps its penalties' counts and its random stream.
 *
 * Scores are the logits, then, in 32-bit floats: + logit bias; repetition penalty (divide positive, multiply negative; tokens of prompt and
 * output); - presence - frequency · count (tokens of the output). Then greedy, or weights e^((score - max) / temperature)
 * filtered by top-k, top-p and min-p in this order, and one draw in proportion to the weights left.
 */
export class Sampler {
  readonly #options: ResolvedSampling;
  readonly #vocabSize: number;
  readonly #random: Random;
  /** Tokens of prompt and output. */
  readonly #seen: Set<number> = new Set();
  /** Occurrences in the output. */
  readonly #counts: Map<number, number> = new Map();
  // Allocated at first use, then reused for every token.
  #scores: Float32Array | undefined; // [vocabSize]
  #indices: Int32Array | undefined; // [<= vocabSize]
  #weights: Float64Array | undefined; // [<= vocabSize]
  #buckets: Float64Array | undefined; // [BUCKETS]

  /**
   * @param vocabSize logits per token
   * @throws TureenError `OPTION_INVALID`
   */
  constructor(options: SamplingOptions, vocabSize: number) {
    this.#options = resolveSampling(options, vocabSize);
    this.#vocabSize = vocabSize;
    this.#random = new Random(this.#options.seed);
  }

  /** The seed in use, drawn or given. */
  get seed(): number {
    return this.#options.seed;
  }

  /** How many of the best logits decide; `undefined` where all may. */
  get best(): number | undefined {
    const { logitBias, repetitionPenalty, presencePenalty, frequencyPenalty } = this.#options;
    const { temperature, topK, logprobs } = this.#options;
    const changes = repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0;
    if (logitBias.length > 0 || changes || logprobs >= 0) return undefined;
    if (temperature === 0) return 1;
    return topK > 0 && topK < this.#vocabSize ? topK : undefined;
  }

  /** Counts tokens of the prompt for the repetition penalty. */
  observe(tokens: Iterable<number>): void {
    for (const token of tokens) this.#seen.add(token);
  }

  /** Counts a token of the output for all penalties. */
  accept(token: number): void {
    this.#seen.add(token);
    this.#counts.set(token, (this.#counts.get(token) ?? 0) + 1);
  }

  /**
   * Chooses a token; does not `accept` it.
   * @param logits [vocabSize]; not changed. `-Infinity` excludes a token.
   * @throws TureenError `LOGITS_NOT_FINITE` if one is NaN or +Infinity or all are -Infinity; `OPTION_INVALID` if biases and
   * penalties exclude every token or leave the range of floats
   */
  sample(logits: Float32Array): SampledToken {
    if (logits.length !== this.#vocabSize) {
      throw new TureenError("BACKEND_FAILED", "the model returned a wrong number of logits", {
        expected: String(this.#vocabSize),
        found: String(logits.length),
      });
    }
    const best = argmax(logits);
    const scores = this.#transform(logits);
    const bestScore = scores === logits ? best : argmaxOfTransformed(scores);
    const token =
      this.#options.temperature === 0 ? bestScore : this.#draw(scores, scores[bestScore]!);
    return this.#options.logprobs < 0 ? { token } : this.#report(token, logits, logits[best]!);
  }

  #transform(logits: Float32Array): Float32Array {
    const { logitBias, repetitionPenalty, presencePenalty, frequencyPenalty } = this.#options;
    const repeats = repetitionPenalty !== 1 && this.#seen.size > 0;
    const counts = (presencePenalty !== 0 || frequencyPenalty !== 0) && this.#counts.size > 0;
    if (logitBias.length === 0 && !repeats && !counts) return logits;

    this.#scores ??= new Float32Array(this.#vocabSize);
    const scores = this.#scores;
    scores.set(logits);
    for (const [id, bias] of logitBias) scores[id]! += bias;
    if (repeats) {
      for (const id of this.#seen) {
        const score = scores[id]!;
        scores[id] = score > 0 ? score / repetitionPenalty : score * repetitionPenalty;
      }
    }
    if (counts) {
      for (const [id, count] of this.#counts) {
        scores[id]! -= presencePenalty + frequencyPenalty * count;
      }
    }
    return scores;
  }

  #draw(scores: Float32Array, max: number): number {
    const { topK } = this.#options;
    return topK > 0 && topK < this.#vocabSize
      ? this.#drawFromTop(scores, max, topK)
      : this.#drawFromAll(scores, max);
  }

  /** All filters keep a prefix of the best k in order of score. Draws in this order. */
  #drawFromTop(scores: Float32Array, max: number, topK: number): number {
    const { temperature, topP, minP } = this.#options;
    const weights = this.#reserve(topK);
    const indices = this.#indices!;
    selectTop(scores, topK, indices);
    const scale = 1 / temperature;
    let mass = 0;
    for (let i = 0; i < topK; i++) {
      weights[i] = expWeight((scores[indices[i]!]! - max) * scale);
      mass += weights[i]!;
    }
    let kept = 0;
    let total = 0;
    while (kept < topK && weights[kept]! > 0 && weights[kept]! >= minP) {
      total += weights[kept++]!;
      if (topP < 1 && total >= topP * mass) break;
    }
    return indices[this.#pick(weights, kept, total)]!;
  }

  /** Without top-k. Draws in order of ids. */
  #drawFromAll(scores: Float32Array, max: number): number {
    const { temperature, topP, minP } = this.#options;
    const weights = this.#reserve(this.#vocabSize);
    if (topP < 1 || minP > 0) return this.#drawFiltered(scores, max);
    const scale = 1 / temperature;
    let total = 0;
    for (let id = 0; id < scores.length; id++) {
      const weight = expWeight((scores[id]! - max) * scale);
      weights[id] = weight;
      total += weight;
    }
    return this.#pick(weights, scores.length, total);
  }

  /** Gathers what top-p and min-p leave, usually little, and draws from it. */
  #drawFiltered(scores: Float32Array, max: number): number {
    const { temperature, topP, minP } = this.#options;
    const weights = this.#weights!;
    const indices = this.#indices!;
    const scale = 1 / temperature;
    const worst = topP < 1 ? this.#findNucleusEnd(scores, max) : -1;
    // Most tokens are far below what min-p keeps: no need to know their weights.
    const floor = minP > 0 ? max + temperature * (log(minP) - 1e-6) : Number.NEGATIVE_INFINITY;
    const worstScore = worst < 0 ? Number.NEGATIVE_INFINITY : scores[worst]!;
    let size = 0;
    let total = 0;
    for (let id = 0; id < scores.length; id++) {
      const score = scores[id]!;
      if (score < worstScore || score < floor) continue;
      if (score === worstScore && id > worst && worst >= 0) continue;
      const weight = expWeight((score - max) * scale);
      if (weight < minP) continue;
      indices[size] = id;
      weights[size++] = weight;
      total += weight;
    }
    return indices[this.#pick(weights, size, total)]!;
  }

  /** Index of one of the first `size` weights, drawn in proportion to them. */
  #pick(weights: Float64Array, size: number, total: number): number {
    let rest = this.#random.nextFloat() * total;
    let last = 0;
    for (let i = 0; i < size; i++) {
      const weight = weights[i]!;
      if (rest < weight) return i;
      rest -= weight;
      if (weight > 0) last = i;
    }
    return last; // rounding used up the sum
  }

  /** The worst of the fewest best tokens whose weights sum to topP of all; -1 if rounding leaves all of them below it. */
  #findNucleusEnd(scores: Float32Array, max: number): number {
    const { temperature, topP } = this.#options;
    const indices = this.#indices!;
    const scale = 1 / temperature;
    this.#buckets ??= new Float64Array(BUCKETS);
    const buckets = this.#buckets.fill(0);
    let total = 0;
    for (let id = 0; id < scores.length; id++) {
      const x = (scores[id]! - max) * scale;
      const weight = expWeight(x);
      buckets[bucketOf(x)]! += weight;
      total += weight;
    }
    const mass = topP * total;
    let sum = 0;
    let bucket = 0;
    while (bucket < BUCKETS && sum + buckets[bucket]! < mass) sum += buckets[bucket++]!;

    let size = 0;
    for (let id = 0; id < scores.length; id++) {
      if (bucketOf((scores[id]! - max) * scale) === bucket) indices[size++] = id;
    }
    sortByScore(scores, indices, size);
    for (let i = 0; i < size; i++) {
      sum += expWeight((scores[indices[i]!]! - max) * scale);
      if (sum >= mass) return indices[i]!;
    }
    return size > 0 ? indices[size - 1]! : -1;
  }

  #reserve(size: number): Float64Array {
    if (this.#weights === undefined || this.#weights.length < size) {
      this.#weights = new Float64Array(size);
      this.#indices = new Int32Array(size);
    }
    return this.#weights;
  }

  #report(token: number, logits: Float32Array, max: number): SampledToken {
    const logTotal = log(totalWeight(logits, max));
    const logprob = (id: number): number => logits[id]! - max - logTotal;
    if (this.#options.logprobs === 0) return { token, logprob: logprob(token) };
    const size = this.#options.logprobs;
    this.#reserve(size);
    selectTop(logits, size, this.#indices!);
    const top = Array.from(this.#indices!.subarray(0, size), (id) => ({
      token: id,
      logprob: logprob(id),
    }));
    return { token, logprob: logprob(token), top };
  }
}

/** Of (score - max) / temperature. */
function bucketOf(x: number): number {
  return Math.min(-x * BUCKETS_PER_UNIT, BUCKETS - 1) | 0;
}

function totalWeight(logits: Float32Array, max: number): number {
  let total = 0;
  for (let id = 0; id < logits.length; id++) total += expWeight(logits[id]! - max);
  return total;
}

/** Index of the highest, the lowest among equals; -1 for NaN or where nothing is finite. */
function findBest(scores: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < scores.length; id++) {
    const score = scores[id]!;
    if (score <= max) continue;
    if (!(score > max)) return -1;
    max = score;
  }
  return Number.isFinite(max) ? scores.indexOf(max) : -1;
}

function argmax(logits: Float32Array): number {
  const best = findBest(logits);
  if (best >= 0) return best;
  const wrong = logits.findIndex((x) => Number.isNaN(x) || x === Number.POSITIVE_INFINITY);
  throw new TureenError("LOGITS_NOT_FINITE", "the model's logits are not finite", {
    expected: "numbers below infinity",
    found: wrong < 0 ? "-Infinity for every token" : `${logits[wrong]} for token ${wrong}`,
    hint: "The model's arithmetic overflowed: check the weights, and whether the soup's weights are too large.",
  });
}

function argmaxOfTransformed(scores: Float32Array): number {
  const best = findBest(scores);
  if (best >= 0) return best;
  throw new TureenError("OPTION_INVALID", "logit bias and penalties leave no token to choose", {
    expected: "a finite score for at least one token, and none above the range of 32-bit floats",
  });
}
