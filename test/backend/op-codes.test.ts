// Operation codes are written twice, in assembly/op-codes.ts and src/backend/wasm/commands.ts: here they meet.
import { expect, test } from "vitest";
import {
  BUILDS,
  compileBuild,
  hasThreads,
  supportedBuilds,
} from "../../src/backend/wasm/builds.ts";
import { Op } from "../../src/backend/wasm/commands.ts";

const builds = BUILDS.filter((build) => supportedBuilds().includes(build));

test.each(builds)("operation codes of build %s", async (build) => {
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 65536, shared: hasThreads(build) });
  const imports = { env: { memory }, barrier: { sleep: () => undefined } };
  const { exports } = await WebAssembly.instantiate(await compileBuild(build), imports);
  const codes = Object.entries(exports)
    .filter(([name]) => name.startsWith("OP_"))
    .map(([name, global]) => [name, (global as WebAssembly.Global).value]);
  expect(Object.fromEntries(codes)).toEqual({
    OP_EMBED_F32: Op.embed.f32,
    OP_EMBED_Q8: Op.embed.q8,
    OP_EMBED_Q4: Op.embed.q4,
    OP_RMSNORM: Op.rmsNorm,
    OP_PACK_F32: Op.pack.f32,
    OP_PACK_I16: Op.pack.i16,
    OP_PACK_I8: Op.pack.i8,
    OP_LINEAR_F32: Op.linear.f32,
    OP_LINEAR_Q8: Op.linear.q8,
    OP_LINEAR_Q4: Op.linear.q4,
    OP_ADD_BIAS: Op.addBias,
    OP_ROPE: Op.rope,
    OP_WRITE_KV_F32: Op.writeKv.f32,
    OP_WRITE_KV_F16: Op.writeKv.f16,
    OP_ATTENTION_F32: Op.attention.f32,
    OP_ATTENTION_F16: Op.attention.f16,
    OP_ATTENTION_PARTS_F32: Op.attentionParts.f32,
    OP_ATTENTION_PARTS_F16: Op.attentionParts.f16,
    OP_ATTENTION_COMBINE: Op.attentionCombine,
    OP_SILU_MUL: Op.siluMul,
    OP_CROSS_ENTROPY: Op.crossEntropy,
    OP_LINEAR_BACKWARD: Op.linearBackward,
    OP_ADD_SCALED: Op.addScaled,
    OP_ADD_DOT: Op.addDot,
    OP_ADD_BIAS_DOT: Op.addBiasDot,
    OP_RMSNORM_BACKWARD: Op.rmsNormBackward,
    OP_ATTENTION_BACKWARD: Op.attentionBackward,
    OP_SILU_MUL_BACKWARD: Op.siluMulBackward,
    OP_GELU_MUL: Op.geluMul,
    OP_GELU_MUL_BACKWARD: Op.geluMulBackward,
    OP_PACK_WEIGHTS_F32: Op.packWeights.f32,
    OP_PACK_WEIGHTS_Q8: Op.packWeights.q8,
    OP_PACK_WEIGHTS_Q4: Op.packWeights.q4,
    OP_BANK_DOWN_F32: Op.bankDown.f32,
    OP_BANK_DOWN_Q8: Op.bankDown.q8,
    OP_BANK_DOWN_Q4: Op.bankDown.q4,
    OP_EMBED_F16: Op.embed.f16,
    OP_EMBED_BF16: Op.embed.bf16,
    OP_LINEAR_F16: Op.linear.f16,
    OP_LINEAR_BF16: Op.linear.bf16,
    OP_PACK_WEIGHTS_F16: Op.packWeights.f16,
    OP_PACK_WEIGHTS_BF16: Op.packWeights.bf16,
  });
});
