// A soup on the page: its weights as a table of f32 numbers that sliders, heat map and links share, and the live soup in the
// worker that follows them.
import { type Signal, signal } from "@preact/signals";
import type { AdapterInfo, SoupWeights } from "tureen";
import type { RemoteModel, RemoteSoup } from "tureen/worker";
import { layerOf } from "./linears.ts";

/** One adapter's weight in each of its linear layers, in model order. */
export type WeightTable = Readonly<Record<string, Float32Array>>;

export type ChangeWeight = (weight: number, path: string) => number;

/** Messages sent to time one: a single one is below what a browser's clock shows. The quickest batch counts. */
const TIMED = 16;
const BATCHES = 4;

export class Blend {
  readonly model: RemoteModel;
  readonly soup: RemoteSoup;
  readonly adapters: Signal<readonly AdapterInfo[]>;
  readonly weights: Signal<WeightTable> = signal({});
  /** What changing one adapter's weights takes, message to the worker included. */
  readonly microseconds: Signal<number | undefined> = signal(undefined);
  #sent: Promise<unknown> = Promise.resolve();

  private constructor(model: RemoteModel, soup: RemoteSoup, adapters: readonly AdapterInfo[]) {
    this.model = model;
    this.soup = soup;
    this.adapters = signal(adapters);
  }

  /** @param weights of loaded adapters; those left out weigh 0 */
  static async create(model: RemoteModel, weights: SoupWeights = {}): Promise<Blend> {
    const blend = new Blend(model, await model.soup(), await model.adapters);
    await blend.apply(weights);
    return blend;
  }

  /** Takes up an adapter that was loaded since, with a weight. */
  async add(info: AdapterInfo, weight = 1): Promise<void> {
    this.adapters.value = [...this.adapters.value, info];
    await this.set(info.name, weight);
  }

  /** One adapter, all its linear layers. */
  set(name: string, weight: number): Promise<void> {
    const info = this.#find(name);
    return this.#put(info, new Float32Array(info.linears.length).fill(weight));
  }

  /** One linear layer. */
  setLinear(name: string, path: string, weight: number): Promise<void> {
    return this.setLinears(name, [path], () => weight);
  }

  /** Some linear layers of one adapter. */
  setLinears(name: string, paths: readonly string[], change: ChangeWeight): Promise<void> {
    const info = this.#find(name);
    const table = this.weights.value[name]!.slice();
    for (const path of paths) {
      const at = info.linears.indexOf(path);
      if (at >= 0) table[at] = change(table[at]!, path);
    }
    return this.#put(info, table);
  }

  /** Everything at once, as written in a soup's weights. */
  async apply(weights: SoupWeights): Promise<void> {
    for (const info of this.adapters.value) {
      await this.#put(info, expand(info, weights[info.name] ?? 0));
    }
  }

  /** As they are now. */
  toWeights(): SoupWeights {
    const entries = this.adapters.value.map((info) => {
      return [info.name, compact(info, this.weights.value[info.name]!)] as const;
    });
    return Object.fromEntries(entries);
  }

  /** Awaits what was sent and measures anew. */
  async time(): Promise<void> {
    await this.#sent;
    const [first] = this.adapters.value;
    if (first === undefined) return;
    const weight = compact(first, this.weights.value[first.name]!);
    let quickest = Number.POSITIVE_INFINITY;
    for (let batch = 0; batch < BATCHES; batch++) {
      const start = performance.now();
      await Promise.all(Array.from({ length: TIMED }, () => this.soup.set(first.name, weight)));
      quickest = Math.min(quickest, performance.now() - start);
    }
    this.microseconds.value = (quickest * 1000) / TIMED;
  }

  async #put(info: AdapterInfo, table: Float32Array): Promise<void> {
    this.weights.value = { ...this.weights.value, [info.name]: table };
    const sending = this.soup.set(info.name, compact(info, table));
    this.#sent = sending.catch(() => undefined);
    await sending;
  }

  #find(name: string): AdapterInfo {
    return this.adapters.value.find((info) => info.name === name)!;
  }
}

/** Every adapter at full strength. */
export function uniform(names: readonly string[], weight = 1): SoupWeights {
  return Object.fromEntries(names.map((name) => [name, weight]));
}

/** The one weight of all layers, if there is one. */
export function common(table: Float32Array): number | undefined {
  const [first = 0] = table;
  return table.every((weight) => weight === first) ? first : undefined;
}

export function mean(table: Float32Array): number {
  return table.reduce((sum, weight) => sum + weight, 0) / Math.max(1, table.length);
}

export function compact(info: AdapterInfo, table: Float32Array): SoupWeights[string] {
  const one = common(table);
  if (one !== undefined) return one;
  return { linears: Object.fromEntries(info.linears.map((path, i) => [path, table[i]!])) };
}

export function expand(info: AdapterInfo, weight: SoupWeights[string]): Float32Array {
  if (typeof weight === "number") return new Float32Array(info.linears.length).fill(weight);
  const layers: Readonly<Record<number, number>> = { ...weight.layers };
  return Float32Array.from(info.linears, (path) => {
    return weight.linears?.[path] ?? layers[layerOf(path)] ?? weight.default ?? 0;
  });
}
