// Guesses how a text goes on by looking for its own end earlier in it ("prompt lookup"): what followed there may follow again.
// Right for quotations, lists, code and tables, wrong for new prose; it keeps count of how often it was right.

/** Tokens of agreement that are looked at. */
const LONGEST = 8;
/** How far one observation outweighs the next older one. */
const MEMORY = 0.95;

/** Agreements by length: the shortest of each class, and what is believed of it before anything was seen. */
const CLASSES = [
  { from: 1, chance: 0.3 },
  { from: 4, chance: 0.7 },
  { from: 8, chance: 0.9 },
] as const;
/** Observations that the belief counts for. */
const PRIOR = 2;

export class Lookup {
  readonly #shortest: number;
  readonly #tokens: number[] = [];
  /** Place of the token that is expected next; -1: none is. */
  #source = -1;
  /** Tokens before it that agree with the text's end. */
  #agreement = 0;
  readonly #hits: number[] = CLASSES.map(({ chance }) => chance * PRIOR);
  readonly #tries: number[] = CLASSES.map(() => PRIOR);

  /** @param shortest tokens that must agree before anything is expected */
  constructor(shortest: number) {
    this.#shortest = Math.min(shortest, LONGEST);
  }

  /** Takes the text so far, without learning from it. */
  begin(tokens: readonly number[]): void {
    for (const token of tokens) this.#tokens.push(token);
    this.#source = -1;
    this.#find();
  }

  /** The text's next token, as it turned out. */
  push(token: number): void {
    if (this.#source >= 0) {
      const i = this.#class();
      const hit = this.#tokens[this.#source] === token;
      this.#hits[i] = this.#hits[i]! * MEMORY + (hit ? 1 : 0);
      this.#tries[i] = this.#tries[i]! * MEMORY + 1;
      this.#source = hit ? this.#source + 1 : -1;
      this.#agreement++;
    }
    this.#tokens.push(token);
    if (this.#source < 0) this.#find();
  }

  /** How probable it is that the next expected token is right; 0 if none is expected. */
  get chance(): number {
    if (this.#source < 0) return 0;
    const i = this.#class();
    return this.#hits[i]! / this.#tries[i]!;
  }

  /** The next `n` tokens that are expected; none if none is. */
  guess(n: number): number[] {
    const guessed: number[] = [];
    if (this.#source < 0) return guessed;
    const { length } = this.#tokens;
    for (let i = this.#source; guessed.length < n; i++) {
      // past the text's end the guess goes on from itself: a repetition without end
      guessed.push(i < length ? this.#tokens[i]! : guessed[i - length]!);
    }
    return guessed;
  }

  /** The latest of the places that agree longest with the text's end. */
  #find(): void {
    const tokens = this.#tokens;
    const end = tokens.length - 1;
    const last = tokens[end];
    this.#agreement = this.#shortest - 1;
    for (let i = end - 1; i >= 0 && this.#agreement < LONGEST; i--) {
      if (tokens[i] !== last) continue;
      let n = 1;
      while (n < LONGEST && n <= i && tokens[i - n] === tokens[end - n]) n++;
      if (n <= this.#agreement) continue;
      this.#agreement = n;
      this.#source = i + 1;
    }
  }

  #class(): number {
    let i = CLASSES.length - 1;
    while (this.#agreement < CLASSES[i]!.from) i--;
    return i;
  }
}
