// What config.json says of a Gemma 3 text model beside what all models have, by transformers' Gemma3TextConfig and its defaults.
import * as v from "valibot";
import type { ModelConfig } from "./config.ts";
import { configError, unsupported, validate } from "./config-check.ts";
import { parseRope } from "./config-rope.ts";

export const GEMMA3_HEAD_DIM = 256;
export const GEMMA3_KV_HEADS = 4;

const LAYER_TYPES = ["full_attention", "sliding_attention"];
const ACTIVATION = "gelu_pytorch_tanh";
const THETA = 1_000_000;
const LOCAL_THETA = 10_000;
const WINDOW = 4096;
const PATTERN = 6;

const positive = v.nullish(v.pipe(v.number(), v.finite(), v.gtValue(0)));
const count = v.nullish(v.pipe(v.number(), v.safeInteger(), v.minValue(1)));
const object = v.nullish(v.looseObject({}));

const schema = v.looseObject({
  hidden_activation: v.nullish(v.string()),
  query_pre_attn_scalar: positive,
  rope_theta: positive,
  rope_local_base_freq: positive,
  rope_scaling: object,
  rope_parameters: v.nullish(v.looseObject({ full_attention: object, sliding_attention: object })),
  layer_types: v.nullish(v.array(v.string())),
  sliding_window: count,
  sliding_window_pattern: count,
  _sliding_window_pattern: count,
  attn_logit_softcapping: v.nullish(v.number()),
  final_logit_softcapping: v.nullish(v.number()),
  use_bidirectional_attention: v.nullish(v.boolean()),
});
type Raw = v.InferOutput<typeof schema>;

/** @throws TureenError `MODEL_CONFIG_INVALID`, `MODEL_UNSUPPORTED` */
export function parseGemma3(
  json: unknown,
  shape: Pick<ModelConfig, "layers" | "headDim" | "maxPositions">,
  where: string,
): Pick<ModelConfig, "ropeTheta" | "ropeScaling" | "queryScale" | "sliding"> {
  const raw = validate(schema, json, where);
  checkOptions(raw, where);
  const { full_attention: full, sliding_attention: local } = raw.rope_parameters ?? {};
  const isNested = Boolean(full ?? local); // transformers 5: settings by the layers' type
  const rope = {
    rope_theta: raw.rope_theta ?? THETA,
    rope_scaling: raw.rope_scaling,
    rope_parameters: isNested ? full : raw.rope_parameters,
  };
  const localRope = parseRope(
    { rope_theta: raw.rope_local_base_freq ?? LOCAL_THETA, rope_parameters: local },
    shape.maxPositions,
    where,
  );
  if (localRope.ropeScaling !== undefined) {
    const found = localRope.ropeScaling.type;
    const what = "scaled positions of sliding layers are not supported";
    throw unsupported(what, "rope_type default", found, where);
  }
  return {
    ...parseRope(rope, shape.maxPositions, where),
    queryScale: Math.sqrt(shape.headDim / (raw.query_pre_attn_scalar ?? GEMMA3_HEAD_DIM)),
    sliding: {
      window: raw.sliding_window ?? WINDOW,
      ropeTheta: localRope.ropeTheta,
      layers: findSlidingLayers(raw, shape.layers, where),
    },
  };
}

function checkOptions(raw: Raw, where: string): void {
  const options: readonly (readonly [name: string, expected: string, isSo: boolean])[] = [
    ["hidden_activation", ACTIVATION, (raw.hidden_activation ?? ACTIVATION) === ACTIVATION],
    ["attn_logit_softcapping", "null", !raw.attn_logit_softcapping],
    ["final_logit_softcapping", "null", !raw.final_logit_softcapping],
    ["use_bidirectional_attention", "false", !raw.use_bidirectional_attention],
  ];
  for (const [name, expected, isSo] of options) {
    if (isSo) continue;
    const found = String(raw[name]);
    throw unsupported(`${name} "${found}" is not supported`, expected, found, where);
  }
}

/** `layer_types` names each layer's kind; without it the last of every few is full. */
function findSlidingLayers(raw: Raw, layers: number, where: string): number[] {
  const types = raw.layer_types;
  if (types && types.length < layers) {
    throw configError(
      "layer_types is too short",
      `a type for each of ${layers} layers`,
      types,
      where,
    );
  }
  const other = types?.find((type) => !LAYER_TYPES.includes(type));
  if (other !== undefined) {
    const expected = LAYER_TYPES.join(" or ");
    throw unsupported(`layer type "${other}" is not supported`, expected, other, where);
  }
  const step = raw.sliding_window_pattern ?? raw._sliding_window_pattern ?? PATTERN;
  const all = Array.from({ length: layers }, (_, layer) => layer);
  return all.filter((layer) =>
    types ? types[layer] === "sliding_attention" : (layer + 1) % step !== 0,
  );
}
