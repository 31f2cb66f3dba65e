import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parsePeftConfig } from "../../src/formats/peft-config.ts";
import { describeWithSharedData, hasSharedData, sharedData } from "../support/shared.ts";
import { failureOf } from "./failure.ts";

const plain = { peft_type: "LORA", r: 4, lora_alpha: 8, target_modules: ["q_proj"] };
const parse = (json: unknown) => parsePeftConfig(json, "adapter_config.json");

test("all that matters is read", () => {
  const config = parse({
    ...plain,
    use_rslora: true,
    rank_pattern: { q_proj: 2 },
    alpha_pattern: { q_proj: 1.5 },
    exclude_modules: "lm_head",
    layers_to_transform: 3,
    layers_pattern: "layers",
    fan_in_fan_out: true,
    lora_bias: true,
    modules_to_save: ["lm_head"],
    base_model_name_or_path: "org/base",
    peft_version: "0.21.0",
  });
  expect(config).toEqual({
    r: 4,
    loraAlpha: 8,
    useRslora: true,
    rankPattern: new Map([["q_proj", 2]]),
    alphaPattern: new Map([["q_proj", 1.5]]),
    targetModules: ["q_proj"],
    excludeModules: "lm_head",
    layersToTransform: [3],
    layersPattern: ["layers"],
    fanInFanOut: true,
    loraBias: true,
    modulesToSave: ["lm_head"],
    baseModel: "org/base",
    peftVersion: "0.21.0",
  });
});

test("what is left out or null has LoraConfig's default", () => {
  const config = parse({ peft_type: "LORA", rank_pattern: null, layers_pattern: "", bias: null });
  expect(config).toMatchObject({ r: 8, loraAlpha: 8, useRslora: false, layersPattern: [] });
  expect(config).toMatchObject({ targetModules: undefined, modulesToSave: [], loraBias: false });
});

describe("options of no effect on inference are ignored", () => {
  test.each([
    { lora_dropout: 0.1 },
    { init_lora_weights: "gaussian" },
    { init_lora_weights: "eva", eva_config: { rho: 2 } },
    { init_lora_weights: "orthogonal" },
    { init_lora_weights: "mica" },
    { init_lora_weights: false },
    { loftq_config: { loftq_bits: 4 } },
    { bias: "lora_only" },
    { megatron_config: { a: 1 }, megatron_core: "megatron.core" },
    { qalora_group_size: 16 },
    { velora_config: { num_groups: 4 } },
    { monteclora_config: { num_samples: 8 } },
    { ensure_weight_tying: true },
    {
      use_dora: false,
      kasa_config: null,
      alora_invocation_tokens: [],
      trainable_token_indices: null,
    },
    { an_option_of_tomorrow: null, another: false, third: {}, fourth: [] },
  ])("%j", (options) => {
    expect(parse({ ...plain, ...options })).toEqual(parse(plain));
  });
});

describe("refused", () => {
  test.each([
    [{ peft_type: "IA3" }],
    [{ peft_type: undefined }],
    [{ peft_type: undefined, model_type: "llama" }],
    [{ use_dora: true }],
    [{ use_qalora: true }],
    [{ use_bdlora: { nblocks: 2 } }],
    [{ kasa_config: {} }],
    [{ arrow_config: { top_k: 2 } }],
    [{ alora_invocation_tokens: [1, 2] }],
    [{ layer_replication: [[0, 4]] }],
    [{ target_parameters: ["mlp.experts.down_proj"] }],
    [{ trainable_token_indices: [5] }],
    [{ init_lora_weights: "pissa" }],
    [{ init_lora_weights: "pissa_niter_16" }],
    [{ init_lora_weights: "olora" }],
    [{ init_lora_weights: "corda" }],
    [{ init_lora_weights: "loftq" }],
    [{ init_lora_weights: "lora_ga" }],
    [{ an_option_of_tomorrow: 3 }],
    [{ r: 0 }],
    [{ r: -4 }],
    [{ r: 2.5 }],
    [{ r: "4" }],
    [{ r: null }],
    [{ lora_alpha: null }],
    [{ lora_alpha: "16" }],
    [{ rank_pattern: { q_proj: 0 } }],
    [{ rank_pattern: ["q_proj"] }],
    [{ alpha_pattern: { q_proj: "1" } }],
    [{ target_modules: 3 }],
    [{ target_modules: [3] }],
    [{ layers_to_transform: [-1] }],
    [{ layers_to_transform: [0.5] }],
    [{ use_rslora: "yes" }],
    [{ bias: "some" }],
    [{ target_modules: ".*", layers_to_transform: [1] }],
    [{ layers_pattern: ["layers"] }],
  ])("%j", async (options) => {
    const message = await failureOf(() => parse({ ...plain, ...options }));
    expect({ [JSON.stringify(options)]: message }).toMatchSnapshot();
  });
  test.each([[null], ["LORA"], [[plain]], [3]])("%j in place of an object", async (json) => {
    expect(await failureOf(() => parse(json))).toMatch(/^ADAPTER_CONFIG_INVALID: .*not an object/);
  });
  test("JSON that goes for the prototype", () => {
    const json = JSON.parse(
      '{"peft_type":"LORA","__proto__":{"use_dora":true},"rank_pattern":{"__proto__":3}}',
    );
    expect(() => parse(json)).toThrow(/unknown to this version/);
    expect(parse(JSON.parse('{"peft_type":"LORA","rank_pattern":{"constructor":3}}')).r).toBe(8);
  });
});

describeWithSharedData("PEFT's own example configs", () => {
  const files = hasSharedData ? readdirSync(sharedData("peft-configs")) : [];
  /** What each file that is not plain LoRA is refused for; everything else must parse. */
  const refusals: readonly (readonly [pattern: RegExp, name: string])[] = [
    [/-dora\.json$/, "DoRA is not supported"],
    [/-bdlora\.json$/, "BD-LoRA (block-diagonal factors) is not supported"],
    [/-kasa\.json$/, "KaSA (it truncates the base weights) is not supported"],
    [/__adalora__/, "adapters of type ADALORA"],
    [/__delora__/, "adapters of type DELORA"],
    [/__glora__/, "adapters of type GLORA"],
    [/__gralora__/, "adapters of type GRALORA"],
    [/__randlora__/, "adapters of type RANDLORA"],
    [/__tinylora__/, "adapters of type TINYLORA"],
    [/__unilora__/, "adapters of type UNILORA"],
    [/__vblora__/, "adapters of type VBLORA"],
  ];
  test("there are both kinds", () => {
    const refused = files.filter((file) => refusals.some(([pattern]) => pattern.test(file)));
    expect(refused.length).toBeGreaterThan(15);
    expect(files.length - refused.length).toBeGreaterThan(8);
  });
  test.each(files)("%s", async (file) => {
    const json = JSON.parse(readFileSync(sharedData("peft-configs", file), "utf8"));
    const refusal = refusals.find(([pattern]) => pattern.test(file));
    if (refusal === undefined) {
      expect(parse(json)).toMatchObject({ r: json.r, loraAlpha: json.lora_alpha });
      return;
    }
    const message = await failureOf(() => parse(json));
    expect(message.startsWith(`ADAPTER_UNSUPPORTED: ${refusal[1]}`), message).toBe(true);
  });
});
