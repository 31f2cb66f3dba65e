// Writes a soup into base weights: W' = W + Σ_i m_i B_i A_i, from the original file's rows, a few rows at a time. For the live
// model the result goes to the backend; `fold-model.ts` writes it to a file.
import type { MatrixSource } from "../backend/backend.ts";
import { TureenError } from "../errors.ts";
import { fromFloat32, toFloat32 } from "../formats/float.ts";
import type { FloatSource } from "../model/weights.ts";
import type { Contribution, Soup } from "./soup.ts";

/** One adapter's product that is added to a weight. */
export interface FoldPart {
  /** soup weight × scaling */
  readonly m: number;
  readonly rank: number;
  /** [rank, cols] */
  readonly a: Float32Array;
  /** [rows, rank] */
  readonly b: Float32Array;
}

/**
 * Adds Σ_i m_i B_i A_i to rows of a weight, in place. The sum over all ranks is taken in f64, in order, and added with one
 * rounding to f32: the same bits on every host.
 * @param weight f32 [nRows, cols], rows `rowStart`.. of the whole
 */
export function foldRows(
  weight: Float32Array,
  rowStart: number,
  cols: number,
  parts: readonly FoldPart[],
): void {
  const delta = new Float64Array(cols);
  for (let i = 0; i < weight.length / cols; i++) {
    delta.fill(0);
    for (const { m, rank, a, b } of parts) {
      const offset = (rowStart + i) * rank;
      let r = 0;
      for (; r + 4 <= rank; r += 4) addFour(delta, m, b, offset + r, a, r * cols);
      for (; r < rank; r++) addOne(delta, m * b[offset + r]!, a, r * cols);
    }
    for (let k = 0; k < cols; k++) weight[i * cols + k] = weight[i * cols + k]! + delta[k]!;
  }
}

/** Four ranks at once, in order: a sum stays in a register for four additions. */
function addFour(
  delta: Float64Array,
  m: number,
  b: Float32Array,
  at: number,
  a: Float32Array,
  offset: number,
): void {
  const cols = delta.length;
  const [f0, f1, f2, f3] = [m * b[at]!, m * b[at + 1]!, m * b[at + 2]!, m * b[at + 3]!];
  if (f0 === 0 && f1 === 0 && f2 === 0 && f3 === 0) return;
  const [a1, a2, a3] = [offset + cols, offset + 2 * cols, offset + 3 * cols];
  for (let k = 0; k < cols; k++) {
    let sum = delta[k]!;
    sum += f0 * a[offset + k]!;
    sum += f1 * a[a1 + k]!;
    sum += f2 * a[a2 + k]!;
    sum += f3 * a[a3 + k]!;
    delta[k] = sum;
  }
}

function addOne(delta: Float64Array, factor: number, a: Float32Array, offset: number): void {
  if (factor === 0) return;
  for (let k = 0; k < delta.length; k++) delta[k] = delta[k]! + factor * a[offset + k]!;
}

/** The weight with the parts added, as f32 rows. */
export function foldedSource(source: FloatSource, parts: readonly FoldPart[]): MatrixSource {
  const { name, rows, cols, dtype } = source;
  return {
    name,
    rows,
    cols,
    dtype: "F32",
    async read(rowStart, nRows) {
      const weight = toFloat32(await source.read(rowStart, nRows), dtype).slice();
      foldRows(weight, rowStart, cols, parts);
      return fromFloat32(weight, "F32");
    },
  };
}

/**
 * Reads what a soup adds to one linear layer.
 * @throws TureenError `ADAPTER_UNSUPPORTED` if an adapter adds to the layer's bias
 */
export async function readFoldParts(contributions: readonly Contribution[]): Promise<FoldPart[]> {
  const parts: FoldPart[] = [];
  for (const { loaded, module, m } of contributions) {
    const { path } = module.linear;
    const { a, b, bias } = await loaded.adapter.readModule(path);
    if (bias?.some((value) => value !== 0)) {
      throw new TureenError("ADAPTER_UNSUPPORTED", "a bias of an adapter cannot be folded", {
        found: "lora_bias",
        where: `${loaded.name}, ${path}`,
        hint: "Use the soup without folding it.",
      });
    }
    parts.push({ m, rank: module.segment.rank, a, b });
  }
  return parts;
}

/**
 * The linear layers that a soup changes.
 * @throws TureenError `SOUP_INVALID` if `lm_head` is one of them and shares its weight with the embedding, which would change
 * with it
 */
export function checkFoldable(
  soup: Soup,
  paths: Iterable<string>,
  tieWordEmbeddings: boolean,
): Map<string, Contribution[]> {
  const changed = new Map<string, Contribution[]>();
  for (const path of paths) {
    const contributions = soup.contributions(path);
    if (contributions.length > 0) changed.set(path, contributions);
  }
  if (tieWordEmbeddings && changed.has("lm_head")) {
    throw new TureenError("SOUP_INVALID", "a soup on lm_head cannot be folded into this model", {
      found: "lm_head and the embedding are one tensor (tie_word_embeddings)",
      hint: "Use the soup without folding it, or give lm_head weight 0.",
    });
  }
  return changed;
}
