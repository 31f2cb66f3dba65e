// A model folder's config.json, with the token ids of generation_config.json.
import { TureenError } from "../errors.ts";
import { type ModelConfig, parseModelConfig } from "../model/config.ts";
import { readJson } from "../sources/open.ts";
import type { FileSet, ReadOptions } from "../sources/source.ts";

/** @throws TureenError `SOURCE_NOT_FOUND` if there is no config.json */
export async function readConfig(files: FileSet, reading: ReadOptions): Promise<ModelConfig> {
  const json = await readJson(files, "config.json", reading);
  if (json === undefined) {
    throw new TureenError("SOURCE_NOT_FOUND", "there is no config.json", {
      expected: "a model in Hugging Face's layout",
      where: files.name,
    });
  }
  const generation = await readJson(files, "generation_config.json", reading);
  return parseModelConfig(json, generation, `${files.name}/config.json`);
}
