// A soup: live weights over the segments of a model's loaded adapters. Holds numbers only; it never reads or moves weights
// of the network. What is computed under a soup goes through `BankState`, which copies its numbers.
import { TureenError } from "../errors.ts";
import { type FileSink, once, openFileSink } from "../sources/sink.ts";
import type { LoadedAdapter, LoadedAdapters, LoadedModule } from "./loaded-adapters.ts";
import { type SoupRecipe, serializeRecipe } from "./recipe.ts";
import { checkWeight, expandWeight, type SoupWeight, type SoupWeights } from "./weights.ts";

/** One adapter's numbers in a soup. */
export interface SoupPart {
  readonly loaded: LoadedAdapter;
  /** Per module of the adapter, without its scaling. */
  readonly weights: Float64Array;
}

/** One adapter's share in one linear layer: m = soup weight × scaling, as f32. */
export interface Contribution {
  readonly loaded: LoadedAdapter;
  readonly module: LoadedModule;
  readonly m: number;
}

/**
 * A blend of loaded adapters: y = W x + Σ_i w_i s_i B_i A_i x, with w_i global, per layer or per linear layer and s_i the
 * adapter's scaling. Live: weights may be changed at any time, also while text is generated; whatever is computed next
 * uses the new ones, and nothing that was cached under the old ones.
 */
export class Soup {
  readonly #adapters: LoadedAdapters;
  #parts: SoupPart[] = [];
  #version = 0;

  /** @internal use `model.soup()` */
  constructor(adapters: LoadedAdapters, weights: SoupWeights = {}) {
    this.#adapters = adapters;
    for (const [name, weight] of Object.entries(weights)) this.set(name, weight);
  }

  /** Counts changes. */
  get version(): number {
    return this.#version;
  }

  /** @internal in load order of the adapters, which fixes the order of sums */
  get parts(): readonly SoupPart[] {
    return this.#parts;
  }

  /** The weights as they are now: a number where all linear layers agree, else one per linear layer. */
  get weights(): SoupWeights {
    return Object.fromEntries(
      this.#parts.map(({ loaded, weights }) => [loaded.name, compactWeight(loaded, weights)]),
    );
  }

  /**
   * Sets one adapter's weight in all its linear layers. A number takes microseconds and allocates nothing, except the
   * first time that an adapter enters the soup.
   * @throws TureenError `SOUP_INVALID` (NaN, infinity, unknown layer), `ADAPTER_NOT_FOUND`; the soup is then unchanged
   */
  set(adapter: string, weight: SoupWeight): void {
    const index = this.#find(adapter);
    if (index >= 0) {
      const part = this.#parts[index]!;
      expandWeight(weight, part.loaded, this.#adapters, part.weights);
    } else {
      const loaded = this.#adapters.get(adapter);
      const weights = new Float64Array(loaded.modules.length);
      expandWeight(weight, loaded, this.#adapters, weights);
      this.#insert({ loaded, weights });
    }
    this.#version++;
  }

  /**
   * Sets one adapter's weight in one linear layer, by module path.
   * @throws TureenError `SOUP_INVALID`, `ADAPTER_NOT_FOUND`; the soup is then unchanged
   */
  setLinear(adapter: string, path: string, weight: number): void {
    let part = this.#parts[this.#find(adapter)];
    const loaded = part?.loaded ?? this.#adapters.get(adapter);
    this.#adapters.linear(path);
    const j = loaded.modules.findIndex(({ linear }) => linear.path === path);
    if (j < 0) {
      throw new TureenError("SOUP_INVALID", `adapter "${adapter}" does not touch "${path}"`);
    }
    checkWeight(weight, loaded.modules[j]!.scaling, `${adapter}, ${path}`);
    if (part === undefined) {
      part = { loaded, weights: new Float64Array(loaded.modules.length) };
      this.#insert(part);
    }
    part.weights[j] = weight;
    this.#version++;
  }

  /**
   * The content of a `soup.json` for these weights: hashes both files of every adapter that has weight.
   * @param learned how the weights were found, kept in the file
   * @throws TureenError `ADAPTER_NOT_FOUND` if one has been unloaded
   */
  async toRecipe(learned?: SoupRecipe["learned"]): Promise<SoupRecipe> {
    const parts = this.#parts.filter(({ weights }) => weights.some((weight) => weight !== 0));
    const weights = Object.fromEntries(
      parts.map((part) => [part.loaded.name, compactWeight(part.loaded, part.weights)]),
    );
    const base = await this.#adapters.identifyBase();
    const adapters = [];
    for (const { loaded } of parts) {
      checkLoaded(loaded);
      adapters.push(await this.#adapters.identify(loaded));
    }
    const recipe: SoupRecipe = {
      format: "tureen-soup",
      version: 1,
      method: "cat",
      base,
      adapters,
      weights,
    };
    return learned === undefined ? recipe : { ...recipe, learned };
  }

  /**
   * Saves the soup into a folder: as `recipe`, a `soup.json` that names its adapters by hash; or as `peft`, one LoRA adapter
   * with the same effect that PEFT and every engine that reads PEFT adapters can load (rank = sum of the ranks).
   * @param target a directory (Node, Deno, Bun) or a sink
   * @throws TureenError `SOURCE_WRITE_FAILED`, `SOUP_INVALID` (`peft`: all weights are 0), `ADAPTER_NOT_FOUND`
   */
  async save(
    target: string | URL | FileSink,
    options: { readonly format?: "recipe" | "peft" } = {},
  ): Promise<void> {
    const { format = "recipe" } = options;
    if (format !== "recipe" && format !== "peft") {
      throw new TureenError("OPTION_INVALID", "option format is invalid", {
        expected: "recipe or peft",
        found: String(format),
      });
    }
    const sink = await openFileSink(target);
    if (format === "peft") {
      const { writeCatAdapter } = await import("./cat.ts");
      return writeCatAdapter(this, this.#adapters, sink);
    }
    const text = serializeRecipe(await this.toRecipe());
    await sink.write("soup.json", once(new TextEncoder().encode(text)));
  }

  /**
   * @internal the adapters that contribute to a linear layer, in load order
   * @throws TureenError `ADAPTER_NOT_FOUND` if one has been unloaded
   */
  contributions(path: string): Contribution[] {
    const found: Contribution[] = [];
    for (const { loaded, weights } of this.#parts) {
      const j = loaded.modules.findIndex(({ linear }) => linear.path === path);
      if (j < 0 || weights[j] === 0) continue;
      checkLoaded(loaded);
      const module = loaded.modules[j]!;
      const m = Math.fround(weights[j]! * module.scaling);
      if (m !== 0) found.push({ loaded, module, m });
    }
    return found;
  }

  /** Index of the part of this name; parts of adapters that were unloaded do not count. */
  #find(adapter: string): number {
    for (let i = 0; i < this.#parts.length; i++) {
      const loaded = this.#parts[i]!.loaded;
      if (loaded.name === adapter && loaded.isLoaded) return i;
    }
    return -1;
  }

  #insert(part: SoupPart): void {
    this.#parts = [...this.#parts.filter(({ loaded }) => loaded.isLoaded), part].sort(
      (a, b) => a.loaded.serial - b.loaded.serial,
    );
  }
}

/** @throws TureenError `ADAPTER_NOT_FOUND` if the adapter has been unloaded */
export function checkLoaded(loaded: LoadedAdapter): void {
  if (loaded.isLoaded) return;
  throw new TureenError(
    "ADAPTER_NOT_FOUND",
    `the soup gives weight to adapter "${loaded.name}", which has been unloaded`,
    { hint: "Set its weight to 0, or load it again and set its weight." },
  );
}

function compactWeight(loaded: LoadedAdapter, weights: Float64Array): SoupWeight {
  const first = weights[0] ?? 0;
  if (weights.every((weight) => weight === first)) return first;
  const linears = loaded.modules.map(({ linear }, j) => [linear.path, weights[j]!] as const);
  return { linears: Object.fromEntries(linears) };
}
