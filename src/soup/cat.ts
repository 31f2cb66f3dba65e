// Writes a soup as one PEFT LoRA adapter, exactly: along the rank, A holds every adapter's rows times m = soup weight ×
// scaling, B holds their columns, and the scaling is 1. Reads the adapters' files again, one linear layer at a time.
import { TureenError } from "../errors.ts";
import type { LinearInfo } from "../model/config.ts";
import type { FileSink } from "../sources/sink.ts";
import type { LoadedAdapters } from "./loaded-adapters.ts";
import { type FactorsToWrite, writePeftAdapter } from "./peft-writer.ts";
import type { Contribution, Soup } from "./soup.ts";

/** One linear layer of the adapter to be. */
interface CatModule {
  readonly linear: LinearInfo;
  readonly contributions: readonly Contribution[];
  /** Σ ranks of the contributions. */
  readonly rank: number;
}

/**
 * Writes `adapter_config.json` and `adapter_model.safetensors` (f32). Adapters of weight 0 take no rank.
 *
 *     A = [m_1 A_1; m_2 A_2; …]   B = [B_1 B_2 …]   B A = Σ m_i B_i A_i, up to the rounding of m_i A_i to f32
 *
 * @throws TureenError `SOUP_INVALID` if all weights are 0, `SOURCE_WRITE_FAILED`
 */
export async function writeCatAdapter(
  soup: Soup,
  adapters: LoadedAdapters,
  sink: FileSink,
): Promise<void> {
  const modules = listModules(soup, adapters);
  if (modules.length === 0) {
    throw new TureenError("SOUP_INVALID", "a soup without weights makes no adapter");
  }
  await writePeftAdapter(
    modules.map((module) => ({ ...module, read: () => readModule(module) })),
    {
      linears: adapters.linears.values(),
      baseModel: modules[0]!.contributions[0]!.loaded.adapter.config.baseModel,
      hasBias: modules.some(({ contributions }) => contributions.some(carriesBias)),
    },
    sink,
  );
}

function listModules(soup: Soup, adapters: LoadedAdapters): CatModule[] {
  const modules: CatModule[] = [];
  for (const linear of adapters.linears.values()) {
    const contributions = soup.contributions(linear.path);
    const rank = contributions.reduce((sum, { module }) => sum + module.segment.rank, 0);
    if (rank > 0) modules.push({ linear, contributions, rank });
  }
  return modules;
}

function carriesBias({ loaded, module }: Contribution): boolean {
  return loaded.adapter.modules.get(module.linear.path)?.hasBias ?? false;
}

async function readModule({ linear, contributions, rank }: CatModule): Promise<FactorsToWrite> {
  const { rows, cols, path } = linear;
  const a = new Float32Array(rank * cols); // [rank, cols]
  const b = new Float32Array(rows * rank); // [rows, rank]
  const bias = new Float32Array(rows);
  let start = 0;
  for (const { loaded, module, m } of contributions) {
    const data = await loaded.adapter.readModule(path);
    const r = module.segment.rank;
    for (let i = 0; i < r * cols; i++) a[start * cols + i] = m * data.a[i]!;
    for (let row = 0; row < rows; row++) {
      b.set(data.b.subarray(row * r, (row + 1) * r), row * rank + start);
    }
    if (data.bias !== undefined) {
      for (let row = 0; row < rows; row++) bias[row] = bias[row]! + m * data.bias[row]!;
    }
    start += r;
  }
  return { a, b, bias };
}
