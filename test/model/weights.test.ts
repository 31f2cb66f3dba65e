// Loading weights: names, shapes, progress, and that a failure leaves nothing behind.
import { describe, expect, test } from "vitest";
import type { Backend, Handle } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/create.ts";
import { TureenError } from "../../src/errors.ts";
import type { DType } from "../../src/formats/checkpoint.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { loadWeights, tensorSource } from "../../src/model/weights.ts";
import {
  allLogits,
  buildModel,
  type GoldenTensor,
  memoryCheckpoint,
  randomTensors,
  tinyConfig,
} from "../support/models.ts";

type Tensors = Map<string, GoldenTensor>;

/** A reference backend, and the handles that it holds. */
function countingBackend(): { backend: Backend; live: Set<Handle> } {
  const backend = createReferenceBackend();
  const live = new Set<Handle>();
  const keep = <H extends Handle>(handle: H): H => {
    live.add(handle);
    return handle;
  };
  const counting: Partial<Backend> = {
    loadMatrix: async (source, type) => keep(await backend.loadMatrix(source, type)),
    loadVector: (name, values) => keep(backend.loadVector(name, values)),
    free: (handle) => {
      backend.free(handle);
      live.delete(handle);
    },
  };
  return { backend: Object.assign(Object.create(backend), counting), live };
}

const NAN_AT_5_2 = 5 * 40 + 2;

/** What is wrong → a config and what is done to its tensors. */
const DAMAGES: Readonly<
  Record<
    string,
    {
      config?: Partial<ModelConfig>;
      dtypes?: Record<string, DType>;
      damage?: (tensors: Tensors) => void;
    }
  >
> = {
  "a missing norm": { damage: (tensors) => void tensors.delete("model.norm.weight") },
  "a missing linear layer": {
    damage: (tensors) => void tensors.delete("model.layers.1.mlp.down_proj.weight"),
  },
  "a missing head": { damage: (tensors) => void tensors.delete("lm_head.weight") },
  "a missing bias": {
    config: { attentionBias: true },
    damage: (tensors) => void tensors.delete("model.layers.0.self_attn.k_proj.bias"),
  },
  "a transposed matrix": {
    damage: (tensors) => reshape(tensors, "model.layers.0.mlp.up_proj.weight", [40, 72]),
  },
  "a vector in place of a matrix": {
    damage: (tensors) => reshape(tensors, "model.layers.0.mlp.up_proj.weight", [72 * 40]),
  },
  "another vocabulary": {
    damage: (tensors) => reshape(tensors, "model.embed_tokens.weight", [122, 20]),
  },
  "a layer too many": {
    damage: (tensors) =>
      void tensors.set("model.layers.2.input_layernorm.weight", tensors.get("model.norm.weight")!),
  },
  "a bias that the config does not know": {
    damage: (tensors) =>
      void tensors.set("model.layers.0.self_attn.q_proj.bias", {
        shape: [24],
        values: new Float32Array(24),
      }),
  },
  "norms of heads that are missing": {
    config: { qkNorm: true },
    damage: (tensors) => void tensors.delete("model.layers.1.self_attn.k_norm.weight"),
  },
  "norms of heads of another size": {
    config: { qkNorm: true },
    damage: (tensors) =>
      void tensors.set("model.layers.0.self_attn.q_norm.weight", {
        shape: [24],
        values: new Float32Array(24),
      }),
  },
  "norms of heads that the config does not know": {
    damage: (tensors) =>
      void tensors.set("model.layers.0.self_attn.q_norm.weight", {
        shape: [6],
        values: new Float32Array(6),
      }),
  },
  "norms of outputs that are missing": {
    config: { outputNorms: true },
    damage: (tensors) => void tensors.delete("model.layers.1.post_feedforward_layernorm.weight"),
  },
  "norms of outputs that the config does not know": {
    damage: (tensors) =>
      void tensors.set(
        "model.layers.0.post_feedforward_layernorm.weight",
        tensors.get("model.norm.weight")!,
      ),
  },
  "NaN in a matrix": {
    damage: (tensors) => {
      tensors.get("model.layers.1.self_attn.v_proj.weight")!.values[NAN_AT_5_2] = Number.NaN;
    },
  },
  "infinity in a norm": {
    damage: (tensors) => {
      tensors.get("model.norm.weight")!.values[7] = Number.NEGATIVE_INFINITY;
    },
  },
  "integers in a matrix": { dtypes: { "model.layers.0.self_attn.q_proj.weight": "I32" } },
};

function reshape(tensors: Tensors, name: string, shape: number[]): void {
  tensors.set(name, { shape, values: tensors.get(name)!.values });
}

describe("refuses, and leaves nothing behind:", () => {
  test.each(Object.keys(DAMAGES))("%s", async (what) => {
    const { config: changes, dtypes, damage } = DAMAGES[what]!;
    const config = tinyConfig(changes);
    const tensors = randomTensors(config);
    damage?.(tensors);
    const { backend, live } = countingBackend();
    const failure = await loadWeights(memoryCheckpoint(tensors, dtypes), config, backend, {
      quantize: "q8",
    }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(TureenError);
    const { code, message } = failure as TureenError;
    expect(`${code}: ${message}`).toMatchSnapshot();
    expect(live.size).toBe(0);
  });

  test("an abort while loading", async () => {
    const config = tinyConfig();
    const { backend, live } = countingBackend();
    const controller = new AbortController();
    const loading = loadWeights(memoryCheckpoint(randomTensors(config)), config, backend, {
      signal: controller.signal,
      onProgress: (done, total) => {
        if (done > total / 2) controller.abort();
      },
    });
    await expect(loading).rejects.toMatchObject({ code: "ABORTED" });
    expect(live.size).toBe(0);
  });

  test("a read that fails half-way", async () => {
    const config = tinyConfig();
    const { backend, live } = countingBackend();
    const checkpoint = memoryCheckpoint(randomTensors(config));
    let reads = 0;
    const loading = loadWeights(
      {
        ...checkpoint,
        read: async (...args) => {
          if (++reads > 8) throw new TureenError("SOURCE_READ_FAILED", "the line went dead");
          return checkpoint.read(...args);
        },
      },
      config,
      backend,
    );
    await expect(loading).rejects.toMatchObject({ code: "SOURCE_READ_FAILED" });
    expect(live.size).toBe(0);
  });
});

test("progress rises to the total, and every byte is read once", async () => {
  const config = tinyConfig();
  const checkpoint = memoryCheckpoint(randomTensors(config));
  let bytesRead = 0;
  let size = 0;
  for (const { nBytes } of checkpoint.tensors.values()) size += nBytes;
  const seen: number[] = [0];
  const { backend, live } = countingBackend();
  const weights = await loadWeights(
    {
      ...checkpoint,
      read: async (...args) => {
        const bytes = await checkpoint.read(...args);
        bytesRead += bytes.length;
        return bytes;
      },
    },
    config,
    backend,
    {
      onProgress: (done, total) => {
        expect(total).toBe(size);
        expect(done).toBeGreaterThan(seen.at(-1)!);
        seen.push(done);
      },
    },
  );
  expect(seen.at(-1)).toBe(size);
  expect(bytesRead).toBe(size);
  weights.free();
  expect(live.size).toBe(0);
});

test("tensors without the prefix `model.` and old rotary buffers load the same", async () => {
  const config = tinyConfig();
  const tensors = randomTensors(config);
  const bare: Tensors = new Map();
  for (const [name, tensor] of tensors) bare.set(name.replace(/^model\./, ""), tensor);
  bare.set("layers.0.self_attn.rotary_emb.inv_freq", { shape: [3], values: new Float32Array(3) });
  const backend = createReferenceBackend();
  const full = await buildModel(backend, config, memoryCheckpoint(tensors));
  const short = await buildModel(backend, config, memoryCheckpoint(bare));
  const ids = [5, 6, 7, 60];
  expect(await allLogits(short, ids)).toEqual(await allLogits(full, ids));
});

test("a tied model ignores a head in the file, as transformers does", async () => {
  const config = tinyConfig({ tieWordEmbeddings: true });
  const tensors = randomTensors(config);
  const head = randomTensors(tinyConfig()).get("lm_head.weight")!;
  const backend = createReferenceBackend();
  const tied = await buildModel(backend, config, memoryCheckpoint(tensors));
  const both = await buildModel(
    backend,
    config,
    memoryCheckpoint(new Map([...tensors, ["lm_head.weight", head]])),
  );
  expect(await allLogits(both, [1, 2])).toEqual(await allLogits(tied, [1, 2]));
});

test("a linear layer can be read again", async () => {
  const config = tinyConfig();
  const tensors = randomTensors(config);
  const backend = createReferenceBackend();
  const weights = await loadWeights(memoryCheckpoint(tensors), config, backend);
  for (const [path, { source, info }] of weights.linears) {
    const { name, rows, cols, read } = source();
    expect([name, rows, cols]).toEqual([`${path}.weight`, info.rows, info.cols]);
    const bytes = await read(3, 2);
    const values = tensors.get(name)!.values.slice(3 * cols, 5 * cols);
    expect(new Float32Array(bytes.slice().buffer)).toEqual(values);
  }
});

test("a source of something other than a matrix is a mistake of the caller", () => {
  const checkpoint = memoryCheckpoint(randomTensors(tinyConfig()));
  expect(() => tensorSource(checkpoint, "model.norm.weight")).toThrow("not a matrix");
  expect(() => tensorSource(checkpoint, "nothing")).toThrow("not a matrix");
});

test("a model that does not fit is refused before it is read", async () => {
  const config = tinyConfig();
  const tensors = randomTensors(config);
  const checkpoint = memoryCheckpoint(tensors);
  let asked = 0;
  let reads = 0;
  const backend = Object.assign(Object.create(createReferenceBackend()), {
    packing: {
      nBytes: (_: string, rows: number, cols: number) => rows * cols,
      reserve: (nBytes: number): void => {
        asked = nBytes;
        throw new TureenError("OUT_OF_MEMORY", "no");
      },
    },
  });
  const read: typeof checkpoint.read = (...args) => {
    reads++;
    return checkpoint.read(...args);
  };
  const loading = loadWeights({ ...checkpoint, read }, config, backend, { quantize: "q8" });
  await expect(loading).rejects.toThrow("no");
  expect(reads).toBe(0);
  const sizes = [...checkpoint.tensors.values()].map(
    ({ shape: [rows = 0, cols = 4] }) => rows * cols,
  );
  expect(asked).toBe(sizes.reduce((sum, size) => sum + size + 64, 0));
});
