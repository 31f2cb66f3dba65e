// tureen inspect, for adapters: ranks, scalings and targets by kind of linear layer; with a base, whether it fits.
import { openAdapter, openAdapterFiles } from "../adapters/adapter.ts";
import { groupTensors, type LoraTensors } from "../adapters/adapter-tensors.ts";
import { readConfig } from "../api/read-config.ts";
import { openModelFiles } from "../formats/model-files.ts";
import { listLinears } from "../model/config.ts";
import { openFileSet, readJson } from "../sources/open.ts";
import type { FileSet } from "../sources/source.ts";
import { describeTensors, HEADERS, type Report, refusal } from "./report.ts";

export async function inspectAdapter(
  path: string,
  files: FileSet,
  base: string | undefined,
): Promise<Report> {
  const said = await describeConfig(files);
  try {
    const { files: inLayout, config, checkpoint } = await openAdapterFiles(files);
    try {
      const { lora, saved } = groupTensors(checkpoint, config.modulesToSave);
      const facts = {
        ...(await describeConfig(inLayout)),
        ...describeTensors(checkpoint),
        modules: groupByKind(lora),
        ...(saved.size > 0 && { "saved whole": [...saved.keys()].join(", ") }),
      };
      if (base === undefined) return { path, kind: "adapter", supported: true, facts };
      try {
        const modules = await checkAgainst(files, base);
        return {
          path,
          kind: "adapter",
          supported: true,
          facts: { ...facts, fits: base, ...modules },
        };
      } catch (error) {
        return { path, kind: "adapter", facts, ...refusal(error) };
      }
    } finally {
      await checkpoint.close();
    }
  } catch (error) {
    return { path, kind: "adapter", facts: said, ...refusal(error) };
  }
}

/** What the config says, whether supported or not. */
async function describeConfig(files: FileSet): Promise<Record<string, unknown>> {
  const json = (await readJson(files, "adapter_config.json")) as Record<string, unknown> | null;
  const shown = [
    "peft_type",
    "base_model_name_or_path",
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "target_modules",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
  ];
  const facts: Record<string, unknown> = {};
  for (const key of shown) {
    const value = json?.[key];
    const empty = value === undefined || value === null || value === false;
    if (empty || (typeof value === "object" && Object.keys(value).length === 0)) continue;
    facts[key] = Array.isArray(value) ? value.join(", ") : value;
  }
  return facts;
}

/** Modules by their last name: how many, which ranks and shapes. */
function groupByKind(
  modules: ReadonlyMap<string, LoraTensors>,
): { module: string; count: number; rank: string; "in → out": string }[] {
  const kinds = new Map<string, { count: number; ranks: Set<number>; shapes: Set<string> }>();
  for (const [path, { a, b }] of modules) {
    const name = path.split(".").at(-1)!;
    const kind = kinds.get(name) ?? { count: 0, ranks: new Set(), shapes: new Set() };
    kinds.set(name, kind);
    kind.count++;
    kind.ranks.add(a.shape[0]!);
    kind.shapes.add(`${a.shape[1]} → ${b.shape[0]}`);
  }
  return [...kinds].map(([module, { count, ranks, shapes }]) => ({
    module,
    count,
    rank: [...ranks].join(", "),
    "in → out": [...shapes].join(", "),
  }));
}

async function checkAgainst(files: FileSet, base: string): Promise<Record<string, unknown>> {
  const opened = await openModelFiles(await openFileSet(base, HEADERS));
  const config = await readConfig(opened.files, {}).finally(() => opened.close());
  const { headDim } = config;
  const adapter = await openAdapter(files, listLinears(config), { headDim });
  try {
    const scalings = new Set([...adapter.modules.values()].map(({ scaling }) => scaling));
    return { "linear layers changed": adapter.modules.size, scaling: [...scalings].join(", ") };
  } finally {
    await adapter.close();
  }
}
