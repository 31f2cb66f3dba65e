// Whole modules that an adapter brings along (PEFT's `modules_to_save`). For a linear layer this is a segment like any other,
// of full rank: the saved weight W' stands for W + B A with A = I and B = W' - W, exactly, so soups weigh it, export it and fold
// it as they do with low-rank parts. Modules that are no linear layer (embeddings, norms) have no place in a bank.
import { TureenError } from "../errors.ts";
import type { TensorInfo } from "../formats/checkpoint.ts";
import type { LinearInfo } from "../model/config.ts";
import type { AdapterModule } from "./adapter-check.ts";

/** `lm_head.weight`, or as older versions of PEFT name it, `lm_head.modules_to_save[.adapter].weight`. */
const SAVED = /^(.+?)(?:\.modules_to_save(?:\.[^.]+)?)?\.(weight|bias)$/;

/** The module path of a tensor, if it belongs to one of `modulesToSave`. PEFT matches names by their end. */
export function savedModulePath(
  name: string,
  modulesToSave: readonly string[],
): string | undefined {
  const path = SAVED.exec(name)?.[1];
  return path !== undefined && modulesToSave.some((saved) => path.endsWith(saved))
    ? path
    : undefined;
}

/**
 * Checks saved modules against the base.
 * @throws TureenError `ADAPTER_UNSUPPORTED` for modules that are no linear layers, and for biases; `ADAPTER_MISMATCH` for
 *   another shape
 */
export function checkSavedModules(
  saved: ReadonlyMap<string, TensorInfo>,
  linears: readonly LinearInfo[],
  where: string,
): Map<string, AdapterModule> {
  const modules = new Map<string, AdapterModule>();
  for (const [path, tensor] of saved) {
    const linear = linears.find((one) => one.path === path);
    if (linear === undefined || tensor.name.endsWith(".bias")) {
      throw new TureenError("ADAPTER_UNSUPPORTED", "a saved module cannot be blended", {
        expected: "modules_to_save with linear layers only, lm_head among them",
        found: tensor.name,
        where,
        hint: "Merge the adapter into its base model with PEFT.",
      });
    }
    const { rows, cols } = linear;
    if (tensor.shape.length !== 2 || tensor.shape[0] !== rows || tensor.shape[1] !== cols) {
      throw new TureenError("ADAPTER_MISMATCH", "a saved module has another shape than the base", {
        expected: `[${rows}, ${cols}] for ${path}`,
        found: `[${tensor.shape.slice(0, 4).join(", ")}]`,
        where,
        hint: "Its vocabulary was extended, or the adapter was trained for another base model.",
      });
    }
    modules.set(path, { path, rank: cols, scaling: 1, rows, cols, hasBias: false });
  }
  return modules;
}

/** A = I [cols, cols] and B = saved - base [rows, cols]. `saved` is overwritten and becomes B. */
export function differenceFactors(
  saved: Float32Array,
  base: Float32Array,
  cols: number,
): { a: Float32Array; b: Float32Array; bias: undefined } {
  const a = new Float32Array(cols * cols);
  for (let i = 0; i < cols; i++) a[i * cols + i] = 1;
  for (let i = 0; i < saved.length; i++) saved[i] = saved[i]! - base[i]!;
  return { a, b: saved, bias: undefined };
}
