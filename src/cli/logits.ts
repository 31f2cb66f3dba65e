// tureen logits: what the network computes, for comparison with other programs.
import type { Command } from "./command.ts";
import { MODEL_FLAGS, MODEL_HELP, openModel } from "./options.ts";
import { print, printJson } from "./output.ts";
import { integerFlag, parseIds, requiredFlag } from "./usage.ts";

export const logitsCommand: Command = {
  name: "logits",
  summary: "logits of token ids",
  help: `Usage: tureen logits --model DIR --ids 1,2,3 [options]
Prints the most probable next tokens, or everything with --json.

  --ids 1,2,3             token ids, from an empty context
  --all                   every position instead of the last
  --json                  print { logits: [...] }, with --all one row per position
  --top N                 how many tokens to print without --json (default 10)
${MODEL_HELP}`,
  flags: {
    ...MODEL_FLAGS,
    ids: { type: "string" },
    all: { type: "boolean" },
    json: { type: "boolean" },
    top: { type: "string" },
  },

  async run(flags) {
    const ids = parseIds(requiredFlag(flags, "ids", "1,2,3"), "--ids");
    const top = integerFlag(flags, "top", 1) ?? 10;
    const all = flags.all === true;
    const { model, soup } = await openModel(flags);
    try {
      const { vocabSize } = model.config;
      const logits = await model.logits(ids, { soup, all });
      const rows: number[][] = [];
      for (let i = 0; i < logits.length; i += vocabSize) {
        rows.push(Array.from(logits.subarray(i, i + vocabSize)));
      }
      if (flags.json === true) {
        printJson({ logits: all ? rows : rows[0] });
        return;
      }
      for (const [i, row] of rows.entries()) {
        if (all) print(`after token ${i} (id ${ids[i]})`);
        for (const [id, logit] of best(row, top)) {
          const text = model.tokenizer?.decode([id]) ?? "";
          print(
            `${String(id).padStart(7)}  ${logit.toFixed(4).padStart(9)}  ${JSON.stringify(text)}`,
          );
        }
      }
    } finally {
      await model.dispose();
    }
  },
};

function best(row: readonly number[], count: number): [id: number, logit: number][] {
  return row
    .map((logit, id): [number, number] => [id, logit])
    .sort((a, b) => b[1] - a[1] || a[0] - b[0])
    .slice(0, count);
}
