// Everything at once, as a server would have it: texts under many soups, some given up, while adapters come and go and a soup is
// folded in and out. Whatever was computed under one state of the weights equals what a quiet model gives in that state.
import { expect, test } from "vitest";
import { type GenerateTextOptions, type Model, TureenError } from "../../src/index.ts";
import { Random } from "../../src/math/random.ts";
import { kitchenPath, loadKitchen, QUESTION } from "../support/kitchen.ts";

const OPERATIONS = 250;
const AT_ONCE = 6;
const FOLDED = { knowledge: 0.5, format: 0.25 };
const PROMPTS = [QUESTION, "x", "### Question:", "Once there was a robot. ".repeat(6)];
const NUMBERS = [1, 0.5, -0.3, 0, 0.77, 2];

type Weights = Record<string, number>;

/** A model that does one thing after another, and folds when asked for a text of another state. */
class Quiet {
  readonly #model: Model;
  #folded = false;
  #last: Promise<unknown> = Promise.resolve();

  constructor(model: Model) {
    this.#model = model;
  }

  do<T>(folded: boolean, task: (model: Model) => Promise<T>): Promise<T> {
    const result = this.#last.then(async () => {
      if (folded !== this.#folded) {
        await (folded ? this.#model.fold(FOLDED) : this.#model.unfold());
        this.#folded = folded;
      }
      return task(this.#model);
    });
    this.#last = result.catch(() => {});
    return result;
  }
}

test.each([
  { threads: 1, quantize: "none" },
  { threads: 2, quantize: "q8" },
  { threads: 2, quantize: "q4" },
] as const)(
  "$threads thread(s), $quantize",
  async (options) => {
    const model = await loadKitchen({ backend: "wasm", ...options });
    const quietModel = await loadKitchen({ backend: "wasm", ...options, threads: 1 });
    const quiet = new Quiet(quietModel);
    const source = new Random(20241013);
    const random = (): number => source.nextFloat();
    const below = (n: number): number => Math.floor(random() * n);
    const pick = <T>(of: readonly T[]): T => of[below(of.length)] as T;

    const names = ["knowledge", "format"]; // loaded in both models, in the same order
    let folded = false;
    let changes = 0; // folds begun and ended
    let compared = 0;

    /** Under one state of the weights from beginning to end. */
    const compare = async (task: (model: Model) => Promise<unknown>): Promise<void> => {
      const [state, since] = [folded, changes];
      const result = await task(model);
      if (changes !== since) return;
      expect(result).toEqual(await quiet.do(state, task));
      compared++;
    };

    const operate = async (): Promise<void> => {
      const weights: Weights = {};
      for (const name of names) if (random() < 0.5) weights[name] = pick(NUMBERS);
      const prompt = pick(PROMPTS);
      const own: GenerateTextOptions = {
        soup: weights,
        seed: below(1000),
        maxTokens: 1 + below(20),
        temperature: pick([0, 0.8, 1.2]),
        speculation: random() < 0.5,
        stop: pick([[], ["e"]]),
        logprobs: 2,
      };
      const kind = random();
      if (kind < 0.15) {
        const signal = AbortSignal.timeout(below(20));
        await model
          .generate(prompt, { ...own, signal })
          .result()
          .catch(allow("ABORTED"));
      } else if (kind < 0.25) {
        let left = below(5);
        for await (const _ of model.generate(prompt, own)) if (left-- === 0) break;
      } else if (kind < 0.4) {
        const ids = Array.from({ length: 1 + below(40) }, () => below(model.config.vocabSize));
        await compare((on) => on.logits(ids, { soup: weights }));
      } else {
        await compare(async (on) => {
          const { timings: _, ...text } = await on.generate(prompt, own).result();
          return text;
        });
      }
    };

    let twins = 0;
    const pending = new Set<Promise<void>>();
    for (let i = 0; i < OPERATIONS; i++) {
      while (pending.size >= AT_ONCE) await Promise.race(pending);
      const kind = random();
      if (kind < 0.06) {
        const name = `twin ${twins++}`;
        const files = kitchenPath(`adapters/${pick(["knowledge", "format"])}`);
        await Promise.all([model, quietModel].map((on) => on.loadAdapter(files, { name })));
        names.push(name);
      } else if (kind < 0.1 && names.length > 2) {
        // Texts under way may lose it, which the model says; the quiet one keeps it, for those that were through.
        await model.unloadAdapter(names.splice(2 + below(names.length - 2), 1)[0] as string);
      } else if (kind < 0.13) {
        changes++;
        await (folded ? model.unfold() : model.fold(FOLDED));
        folded = !folded;
        changes++;
      } else {
        const operation = operate().catch(allow("ADAPTER_NOT_FOUND"));
        pending.add(operation);
        operation.finally(() => pending.delete(operation)).catch(() => {});
      }
    }
    await Promise.all(pending);
    expect(compared).toBeGreaterThan(OPERATIONS / 4);
    await Promise.all([model.dispose(), quietModel.dispose()]);
  },
  120_000,
);

/** Throws again what is not the error that may happen here. */
function allow(code: string): (error: unknown) => void {
  return (error) => {
    if (!(error instanceof TureenError && error.code === code)) throw error;
  };
}
