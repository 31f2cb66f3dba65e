// PEFT's own functions are the oracle: vectors/peft_targets.py wrote what they answer.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { createTargetMatcher } from "../../src/adapters/targets.ts";
import { parsePeftConfig } from "../../src/formats/peft-config.ts";

interface Case {
  readonly config: Record<string, unknown>;
  readonly targeted: readonly number[];
  readonly rank_pattern?: readonly number[];
  readonly alpha_pattern?: readonly number[];
}

const vectors = JSON.parse(
  readFileSync(new URL("vectors/peft-targets.json", import.meta.url), "utf8"),
) as { r: number; lora_alpha: number; paths: string[]; cases: Case[] };
const { paths } = vectors;

function createMatcher(config: Record<string, unknown>) {
  const json = { peft_type: "LORA", r: 8, lora_alpha: 16, target_modules: ["q_proj"], ...config };
  return createTargetMatcher(parsePeftConfig(json, "test"), "test");
}

describe("PEFT's own answers", () => {
  const cases = vectors.cases.map((item) => [JSON.stringify(item.config), item] as const);
  test.each(cases)("%s", async (_, { config, targeted, rank_pattern, alpha_pattern }) => {
    const matcher = await createMatcher(config);
    expect(paths.filter(matcher.isTargeted)).toEqual(targeted.map((i) => paths[i]));
    expect(paths.map(matcher.rankOf)).toEqual(rank_pattern ?? paths.map(() => 8));
    expect(paths.map(matcher.alphaOf)).toEqual(alpha_pattern ?? paths.map(() => 16));
  });
});

test.each(["all-linear", "ALL-LINEAR"])("%s is every linear layer but the output", async (word) => {
  const matcher = await createMatcher({ target_modules: word });
  expect(paths.filter((path) => !matcher.isTargeted(path))).toEqual(["lm_head"]);
  const some = await createMatcher({ target_modules: word, exclude_modules: ["q_proj"] });
  expect(some.isTargeted("model.layers.0.self_attn.q_proj")).toBe(false);
});

test("without target_modules, PEFT's defaults for the architecture", async () => {
  const matcher = await createMatcher({ target_modules: null });
  expect(paths.filter(matcher.isTargeted)).toEqual(paths.filter((path) => /[qv]_proj$/.test(path)));
});

test("scaling is alpha / r, or alpha / sqrt(r), with patterns applied", async () => {
  const patterns = { rank_pattern: { v_proj: 4 }, alpha_pattern: { v_proj: 6 } };
  const plain = await createMatcher(patterns);
  expect(plain.scalingOf("model.layers.0.self_attn.q_proj")).toBe(2);
  expect(plain.scalingOf("model.layers.0.self_attn.v_proj")).toBe(1.5);
  const stabilized = await createMatcher({ ...patterns, use_rslora: true });
  expect(stabilized.scalingOf("model.layers.0.self_attn.q_proj")).toBe(16 / Math.sqrt(8));
  expect(stabilized.scalingOf("model.layers.0.self_attn.v_proj")).toBe(3);
});

test("layers_pattern takes names only", async () => {
  const config = { layers_to_transform: [1], layers_pattern: "(layers|h)" };
  await expect(createMatcher(config)).rejects.toThrowErrorMatchingInlineSnapshot(
    `[TureenError: layers_pattern with a regular expression: expected names of module lists, such as layers, found "(layers|h)" (test)]`,
  );
});

test("a rank_pattern with an entry for every module of a large model is quick", async () => {
  const names = Array.from({ length: 80 * 7 }, (_, i) => `model.layers.${i}.self_attn.q_proj`);
  const rank_pattern = Object.fromEntries(names.map((name, i) => [name, i + 1]));
  const matcher = await createMatcher({ rank_pattern });
  expect(names.map(matcher.rankOf)).toEqual(names.map((_, i) => i + 1));
});
