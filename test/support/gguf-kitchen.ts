// The kitchen as GGUF files, as llama.cpp's converter writes them: matrices in Q8_0, the embedding in F16, the tokenizer in the
// metadata, and adapters in F32.
import { readFileSync } from "node:fs";
import { fromFloat32 } from "../../src/formats/float.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { bytesOf, type GgufSpec, type GgufTensorSpec, makeGguf } from "./gguf.ts";
import { halfAt } from "./gguf-blocks.ts";
import { ggufName, interleave, modelMetadata } from "./gguf-models.ts";
import { kitchenPath } from "./kitchen.ts";

interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

const readJson = (path: string) => JSON.parse(readFileSync(kitchenPath(path), "utf8"));
const config = parseModelConfig(readJson("base/config.json"), undefined, "config.json");

/** The tensors of a safetensors file, which are all F32. */
function readTensors(path: string): Tensor[] {
  const file = readFileSync(kitchenPath(path));
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header: Record<string, { shape: number[]; data_offsets: [number, number] }> = JSON.parse(
    file.toString("utf8", 8, start),
  );
  return Object.entries(header).flatMap(([name, { shape, data_offsets }]) => {
    if (name === "__metadata__") return [];
    const [from, to] = data_offsets.map((at) => file.byteOffset + start + at);
    return [{ name, shape, values: new Float32Array(file.buffer.slice(from, to)) }];
  });
}

/** Blocks of 32: the largest magnitude over 127 as a half, then 32 numbers of 8 bits. */
function toQ8(values: Float32Array): Uint8Array {
  const data = new Uint8Array((values.length / 32) * 34);
  const view = new DataView(data.buffer);
  for (let block = 0; block < values.length / 32; block++) {
    const part = values.subarray(block * 32, block * 32 + 32);
    const largest = part.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    data.set(fromFloat32(Float32Array.of(largest / 127), "F16"), block * 34);
    const scale = halfAt(view, block * 34) || 1;
    for (const [i, value] of part.entries()) {
      const code = Math.max(-127, Math.min(127, Math.round(value / scale)));
      view.setInt8(block * 34 + 2 + i, code);
    }
  }
  return data;
}

/** Rows of q and k in llama.cpp's order. */
function inOrder({ name, shape, values }: Tensor): Float32Array {
  return /\.[qk]_proj\.(weight|lora_B)/.test(name)
    ? interleave(values, shape[0]!, config.headDim)
    : values;
}

export function kitchenSpec(): GgufSpec {
  const { model } = readJson("base/tokenizer.json");
  const tokens: string[] = [];
  for (const [token, id] of Object.entries<number>(model.vocab)) tokens[id] = token;
  const merges = model.merges.map((merge: string | string[]) => [merge].flat().join(" "));
  const tensors = readTensors("base/model.safetensors").map((tensor): GgufTensorSpec => {
    const { name, shape } = tensor;
    const values = inOrder(tensor);
    const spec = { name: ggufName(name), shape };
    if (shape.length === 1) return { ...spec, type: 0, data: bytesOf(values) };
    if (name.includes("embed")) return { ...spec, type: 1, data: fromFloat32(values, "F16") };
    return { ...spec, type: 8, data: toQ8(values) };
  });
  return {
    metadata: {
      ...modelMetadata(config),
      "general.type": ["string", "model"],
      "tokenizer.ggml.model": ["string", "gpt2"],
      "tokenizer.ggml.pre": ["string", "gpt-2"],
      "tokenizer.ggml.tokens": ["array", "string", tokens],
      "tokenizer.ggml.token_type": ["array", "i32", tokens.map((_, id) => (id < 3 ? 3 : 1))],
      "tokenizer.ggml.merges": ["array", "string", merges],
      "tokenizer.ggml.add_bos_token": ["bool", true],
    },
    tensors,
  };
}

export function makeKitchenGguf(): Uint8Array {
  return makeGguf(kitchenSpec());
}

/** The same in two files, by name. */
export function makeKitchenShards(stem: string): Record<string, Uint8Array> {
  const { metadata, tensors = [] } = kitchenSpec();
  const half = tensors.length >> 1;
  const parts = [tensors.slice(0, half), tensors.slice(half)].map((some, no) => {
    const split = { "split.no": ["u32", no], "split.count": ["u32", 2] } as const;
    const file = makeGguf({ metadata: { ...(no === 0 ? metadata : {}), ...split }, tensors: some });
    return [`${stem}-0000${no + 1}-of-00002.gguf`, file] as const;
  });
  return Object.fromEntries(parts);
}

/** `knowledge` or `format`. */
export function makeKitchenAdapter(name: string): Uint8Array {
  const { lora_alpha } = readJson(`adapters/${name}/adapter_config.json`);
  const tensors = readTensors(`adapters/${name}/adapter_model.safetensors`).map((tensor) => {
    const [, path, factor] = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/.exec(tensor.name)!;
    const spec = { name: `${ggufName(`${path}.weight`)}.lora_${factor!.toLowerCase()}`, type: 0 };
    return { ...spec, shape: tensor.shape, data: bytesOf(inOrder(tensor)) };
  });
  return makeGguf({
    metadata: {
      "general.architecture": ["string", "llama"],
      "general.type": ["string", "adapter"],
      "adapter.type": ["string", "lora"],
      "adapter.lora.alpha": ["f32", lora_alpha],
    },
    tensors,
  });
}
