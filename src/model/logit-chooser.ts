// The best logits of some rows, chosen by the backend, as rows of logits of which the others are -Infinity: samplers that look at
// the best k alone see no difference, and few bytes come back.
import type { Tensor } from "../backend/backend.ts";
import type { Choice, Chosen, Sampling } from "../backend/sampling.ts";

export class LogitChooser {
  readonly sampling: Sampling;
  readonly #logits: Tensor;
  /** By k, for all rows of the logits. */
  readonly #choices = new Map<number, Choice>();

  constructor(sampling: Sampling, logits: Tensor) {
    this.sampling = sampling;
    this.#logits = logits;
  }

  canChoose(k: number): boolean {
    return k <= Math.min(this.sampling.maxK, this.#logits.cols);
  }

  choiceOf(k: number): Choice {
    const choice = this.#choices.get(k) ?? this.sampling.createChoice(this.#logits.rows, k);
    this.#choices.set(k, choice);
    return choice;
  }

  /** Rows row.. of the logits, [count, vocabSize], into `into`. */
  async read(row: number, count: number, k: number, into: Float32Array): Promise<void> {
    const choice = this.choiceOf(k);
    this.sampling.choose(choice, this.#logits, count, row);
    spread(await this.sampling.readChoice(choice, count), into);
  }

  dispose(): void {
    for (const choice of this.#choices.values()) this.sampling.freeChoice(choice);
  }
}

/** Writes rows of logits [rows, vocabSize]; one whose logits are not all finite begins with NaN. */
export function spread({ ids, logits, logSums }: Chosen, into: Float32Array): void {
  const rows = logSums.length;
  const [k, vocabSize] = [ids.length / rows, into.length / rows];
  into.fill(Number.NEGATIVE_INFINITY);
  for (let i = 0; i < rows; i++) {
    const row = i * vocabSize;
    for (let j = i * k; j < (i + 1) * k; j++) into[row + ids[j]!] = logits[j]!;
    if (!Number.isFinite(logSums[i]!)) into[row] = Number.NaN;
  }
}
