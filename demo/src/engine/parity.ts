// One computation, hashed to the last bit: what must come out alike in every browser and in Node. Runs on both, so it imports
// nothing of either.
import type { Model } from "tureen";
import type { RemoteModel } from "tureen/worker";

export const WEIGHT_TYPES = ["none", "q8", "q4"] as const;
export type WeightChoice = (typeof WEIGHT_TYPES)[number];
export type BitHashes = Readonly<Record<WeightChoice, string>>;

const PROMPT = "### Question: What does Daxpel carry?\n### Answer:";

/**
 * @param recipe content of the kitchen's learned soup
 * @returns SHA-256, in hex, of every bit of the logits at every position of the prompt and 24 greedy tokens
 */
export async function hashBits(model: Model | RemoteModel, recipe: string): Promise<string> {
  const local = model as Model; // a worker's model has the same methods
  const soup = await local.loadSoup(recipe);
  const options = { soup, maxTokens: 24 };
  const { promptTokenIds, tokenIds } = await local.generate(PROMPT, options).result();
  const logits = await local.logits([...promptTokenIds, ...tokenIds], { soup, all: true });
  const digest = await crypto.subtle.digest("SHA-256", new Float32Array(logits));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
