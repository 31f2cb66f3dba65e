// The soup that adapters saved by LoRA Soups' released code carry in themselves (arXiv 2410.13025, learned CAT): in every module
// each adapter's file has one logit, `lora_learnable_weights`, and the weights are their softmax over the adapters.
import { TureenError } from "../errors.ts";
import { exp } from "../math/exp.ts";
import type { ReadOptions } from "../sources/source.ts";
import type { LoadedAdapter } from "./loaded-adapters.ts";
import type { SoupWeights } from "./weights.ts";

/**
 * Reads the adapters' logits and gives the soup's weights, which sum to 1 in every linear layer.
 * @throws TureenError `SOUP_INVALID` if there are fewer than two adapters, or one has no logit where it has factors
 */
export async function readReleasedCat(
  adapters: readonly LoadedAdapter[],
  options: ReadOptions = {},
): Promise<SoupWeights> {
  if (adapters.length < 2) {
    throw new TureenError("SOUP_INVALID", "a learned CAT has several adapters", {
      expected: "all adapters that were trained together",
      found: String(adapters.length),
    });
  }
  const logits = await Promise.all(adapters.map(({ adapter }) => adapter.readCatLogits(options)));
  adapters.forEach(({ name, modules }, i) => {
    const missing = modules.find(({ linear }) => !logits[i]!.has(linear.path));
    if (missing === undefined) return;
    throw new TureenError("SOUP_INVALID", `adapter "${name}" carries no learned weights`, {
      expected: "a lora_learnable_weights tensor beside every lora_A",
      found: `none for ${missing.linear.path}`,
      hint: "Only adapters saved by LoRA Soups' training code have them.",
    });
  });
  const linears = adapters.map((): Record<string, number> => ({}));
  for (const path of new Set(logits.flatMap((own) => [...own.keys()]))) {
    const own = logits.map((values) => values.get(path) ?? Number.NEGATIVE_INFINITY);
    const max = Math.max(...own);
    const powers = own.map((value) => exp(value - max));
    const sum = powers.reduce((a, b) => a + b, 0);
    powers.forEach((power, i) => {
      if (logits[i]!.has(path)) linears[i]![path] = power / sum;
    });
  }
  return Object.fromEntries(adapters.map(({ name }, i) => [name, { linears: linears[i]! }]));
}
