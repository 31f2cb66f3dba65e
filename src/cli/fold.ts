// tureen fold: base and adapters become one full model.
import { join } from "node:path";
import type { Command } from "./command.ts";
import { MODEL_FLAGS, openSoup } from "./options.ts";
import { note, printJson } from "./output.ts";
import { createProgress } from "./progress.ts";
import { requiredFlag, textFlag } from "./usage.ts";

export const foldCommand: Command = {
  name: "fold",
  summary: "write a soup into the base weights, as a full model",
  help: `Usage: tureen fold --model DIR --adapter NAME=DIR ... --soup NAME=W,... --out DIR
Writes model.safetensors in the base's own types (f32 for what a GGUF file holds quantized), and copies
its config and tokenizer.

  --model DIR             the base model
  --adapter NAME=DIR      a PEFT LoRA adapter; may be repeated
  --soup NAME=W,...       weights of the adapters, or the path of a soup.json
  --out DIR               where to write
  --json                  print { out, soup }`,
  flags: {
    model: MODEL_FLAGS.model!,
    adapter: MODEL_FLAGS.adapter!,
    soup: MODEL_FLAGS.soup!,
    "allow-mismatch": MODEL_FLAGS["allow-mismatch"]!,
    weights: { type: "string" },
    out: { type: "string" },
    json: { type: "boolean" },
  },

  async run(flags) {
    const out = requiredFlag(flags, "out", "DIR");
    const soupText = textFlag(flags, "soup") ?? textFlag(flags, "weights");
    const { workbench, soup } = await openSoup({ ...flags, soup: soupText });
    const progress = createProgress("folding");
    try {
      await workbench.saveFolded(soup, out, {
        onProgress: progress.update,
      });
      progress.stop();
      if (flags.json === true) printJson({ out, soup: soup.weights });
      else note(`wrote ${join(out, "model.safetensors")}`);
    } finally {
      progress.stop();
      await workbench.close();
    }
  },
};
