// What a caller writes as a soup's weights, and its expansion to one number per linear layer. Pure.
import { TureenError } from "../errors.ts";
import type { LoadedAdapter, LoadedAdapters } from "./loaded-adapters.ts";

/**
 * One adapter's weight: a number for all its linear layers, or numbers per layer and per linear layer. The more specific
 * one wins: `linears` over `layers` over `default`. Negative weights subtract; 0 leaves the adapter out.
 */
export type SoupWeight =
  | number
  | {
      /** For linear layers that nothing else names. Needed unless all are named. */
      readonly default?: number;
      /** By decoder layer: one number each, or a record of layer number → weight. */
      readonly layers?: readonly number[] | Readonly<Record<number, number>>;
      /** By module path, e.g. `model.layers.3.self_attn.q_proj`. */
      readonly linears?: Readonly<Record<string, number>>;
    };

/** Adapter name → weight. Adapters left out weigh 0. */
export type SoupWeights = Readonly<Record<string, SoupWeight>>;

/** @throws TureenError `SOUP_INVALID` unless the weight is finite, and also as f32 after the adapter's scaling */
export function checkWeight(weight: unknown, scaling: number, where: string): void {
  if (typeof weight === "number" && Number.isFinite(Math.fround(weight * scaling))) return;
  throw new TureenError("SOUP_INVALID", "a soup weight is not usable", {
    expected: "a finite number",
    found: typeof weight === "number" ? String(weight) : typeof weight,
    where,
  });
}

/**
 * Fills `into` with one weight per module of the adapter, in its order.
 * @throws TureenError `SOUP_INVALID`; `into` is then untouched
 */
export function expandWeight(
  weight: SoupWeight,
  loaded: LoadedAdapter,
  adapters: LoadedAdapters,
  into: Float64Array,
): void {
  const { name, modules } = loaded;
  if (typeof weight === "number") {
    // Plain loops: this path is a slider's, and allocates nothing.
    for (let j = 0; j < modules.length; j++) checkWeight(weight, modules[j]!.scaling, name);
    for (let j = 0; j < modules.length; j++) into[j] = weight;
    return;
  }
  if (weight === null || typeof weight !== "object") checkWeight(weight, 1, name);
  for (const key of Object.keys(weight)) {
    if (key === "default" || key === "layers" || key === "linears") continue;
    throw invalid(`weight has an unknown field "${key}"`, "default, layers or linears", name);
  }
  const layers = layerWeights(weight.layers, name, adapters.layers);
  const linears = new Map(Object.entries(weight.linears ?? {}));
  for (const path of linears.keys()) {
    adapters.linear(path);
    if (modules.some(({ linear }) => linear.path === path)) continue;
    throw invalid(`the adapter does not touch "${path}"`, "one of its linear layers", name);
  }
  const expanded = modules.map(({ linear, scaling }) => {
    const value = linears.get(linear.path) ?? layers.get(linear.layer) ?? weight.default;
    if (value === undefined) {
      throw invalid(`no weight for ${linear.path}`, "a `default`, or a weight for each", name);
    }
    checkWeight(value, scaling, `${name}, ${linear.path}`);
    return value;
  });
  into.set(expanded);
}

function layerWeights(
  layers: readonly number[] | Readonly<Record<number, number>> | undefined,
  where: string,
  count: number,
): Map<number, number> {
  if (layers === undefined) return new Map();
  if (Array.isArray(layers)) {
    if (layers.length !== count) {
      throw invalid(`${layers.length} weights for ${count} layers`, "one per layer", where);
    }
    return new Map(layers.entries());
  }
  return new Map(
    Object.entries(layers).map(([key, value]) => {
      const layer = Number(key);
      if (!Number.isInteger(layer) || layer < 0 || layer >= count) {
        throw invalid(`the model has no layer ${key}`, `0 to ${count - 1}`, where);
      }
      return [layer, value];
    }),
  );
}

function invalid(what: string, expected: string, where: string): TureenError {
  return new TureenError("SOUP_INVALID", `soup: ${what}`, { expected, where });
}
