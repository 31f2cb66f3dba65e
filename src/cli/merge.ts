// tureen merge: several adapters become one.
import { join } from "node:path";
import type { Command } from "./command.ts";
import { MODEL_FLAGS, openSoup } from "./options.ts";
import { note, printJson } from "./output.ts";
import { choiceFlag, requiredFlag, textFlag, UsageError } from "./usage.ts";

export const mergeCommand: Command = {
  name: "merge",
  summary: "blend adapters into one PEFT adapter",
  help: `Usage: tureen merge --model DIR --adapter NAME=DIR ... --weights NAME=W,... --out DIR
Writes adapter_config.json, adapter_model.safetensors and the soup.json they were made from.

  --model DIR             the base model
  --adapter NAME=DIR      a PEFT LoRA adapter; may be repeated
  --weights NAME=W,...    weights of the adapters, or the path of a soup.json
  --method cat            cat (default): exact, the ranks add up
  --out DIR               where to write
  --json                  print { out, method, soup }`,
  flags: {
    model: MODEL_FLAGS.model!,
    adapter: MODEL_FLAGS.adapter!,
    "allow-mismatch": MODEL_FLAGS["allow-mismatch"]!,
    weights: { type: "string" },
    soup: { type: "string" },
    method: { type: "string" },
    out: { type: "string" },
    json: { type: "boolean" },
  },

  async run(flags) {
    const out = requiredFlag(flags, "out", "DIR");
    const method = choiceFlag(flags, "method", ["cat"]) ?? "cat";
    const weights = textFlag(flags, "weights") ?? textFlag(flags, "soup");
    if (weights === undefined) throw new UsageError("--weights NAME=WEIGHT,… is missing");
    const { workbench, soup } = await openSoup({ ...flags, soup: weights });
    try {
      await soup.save(out, { format: "peft" });
      await soup.save(out, { format: "recipe" });
      if (flags.json === true) printJson({ out, method, soup: soup.weights });
      else note(`wrote ${join(out, "adapter_model.safetensors")} (${method})`);
    } finally {
      await workbench.close();
    }
  },
};
