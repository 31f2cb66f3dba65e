// Writes a model of a given shape with random weights, and rank-16 adapters beside it, as safetensors. For measuring speed and
// for comparing with other engines; the same seed gives the same bytes on every host.
//
//   npm run build && node scripts/make-random-model.mjs DIR [--shape smollm2-135m] [--seed 1] [--adapters 2] [--rank 16]
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createRandomAdapter, createRandomModel, SHAPES } from "../dist/cli/random-model.js";
import { parseModelConfig } from "../dist/model/config.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    shape: { type: "string", default: "smollm2-135m" },
    seed: { type: "string", default: "1" },
    adapters: { type: "string", default: "2" },
    rank: { type: "string", default: "16" },
  },
});
const [directory] = positionals;
if (directory === undefined || !(values.shape in SHAPES)) {
  console.error(
    `usage: make-random-model.mjs DIR [--shape ${Object.keys(SHAPES).join("|")}] [--seed N] [--adapters N] [--rank N]`,
  );
  process.exit(2);
}

await writeFiles(directory, await createRandomModel(values.shape, Number(values.seed)));
const config = parseModelConfig(SHAPES[values.shape], undefined, values.shape);
for (let i = 0; i < Number(values.adapters); i++) {
  const files = await createRandomAdapter(config, Number(values.rank), Number(values.seed) + 1 + i);
  await writeFiles(join(directory, "adapters", `random${i}`), files);
}

async function writeFiles(folder, files) {
  await mkdir(folder, { recursive: true });
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(folder, name), bytes);
  console.log(`wrote ${folder}`);
}
