import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { openAdapter } from "../../src/adapters/adapter.ts";
import { fromFloat32, toFloat32 } from "../../src/formats/float.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { collectBytes, writeSafetensors } from "../../src/formats/safetensors-writer.ts";
import { type LinearInfo, listLinears, parseModelConfig } from "../../src/model/config.ts";
import { openMemory } from "../../src/sources/memory.ts";
import { openFileSet } from "../../src/sources/open.ts";
import type { ByteSource, FileSet } from "../../src/sources/source.ts";
import { failureOf } from "../formats/failure.ts";
import { describeWithSharedData, sharedData } from "../support/shared.ts";

type Shapes = readonly (readonly [name: LinearInfo["name"], rows: number, cols: number])[];
/** Two layers with two linear layers each, and an output layer. */
const SHAPES: Shapes = [
  ["q_proj", 6, 4],
  ["down_proj", 4, 8],
];

function makeLinears(layers: number, shapes: Shapes = SHAPES): LinearInfo[] {
  const linears: LinearInfo[] = [];
  for (let layer = 0; layer < layers; layer++) {
    for (const [name, rows, cols] of shapes) {
      const path = `model.layers.${layer}.${name === "q_proj" ? "self_attn" : "mlp"}.${name}`;
      linears.push({ path, layer, name, rows, cols });
    }
  }
  return [...linears, { path: "lm_head", layer: -1, name: "lm_head", rows: 10, cols: 4 }];
}

const linears = makeLinears(2);
const CONFIG = { peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: ["q_proj", "down_proj"] };
const Q0 = "base_model.model.model.layers.0.self_attn.q_proj";

interface TestTensor {
  readonly shape: readonly number[];
  readonly dtype?: "F32" | "F16" | "BF16" | "I32";
  /** Default: 0, 1, 2 ... */
  readonly values?: readonly number[];
}
type Tensors = Record<string, TestTensor>;

/** Tensors of a good adapter of rank 2 for these layers. */
function makeTensors(of: readonly LinearInfo[] = linears): Tensors {
  const tensors: Tensors = {};
  for (const { path, rows, cols, name } of of) {
    if (name === "lm_head") continue;
    tensors[`base_model.model.${path}.lora_A.weight`] = { shape: [2, cols] };
    tensors[`base_model.model.${path}.lora_B.weight`] = { shape: [rows, 2] };
  }
  return tensors;
}

function without(tensors: Tensors, ...names: string[]): Tensors {
  return Object.fromEntries(Object.entries(tensors).filter(([name]) => !names.includes(name)));
}

function rename(tensors: Tensors, change: (name: string) => string): Tensors {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => [change(name), tensor]),
  );
}

async function makeFile(tensors: Tensors): Promise<Uint8Array> {
  const list = Object.entries(tensors).map(([name, { shape, dtype = "F32", values }]) => {
    const length = shape.reduce((a, b) => a * b, 1);
    const floats = Float32Array.from(values ?? Array.from({ length }, (_, i) => i));
    return { name, dtype, shape, data: () => fromFloat32(floats, dtype === "I32" ? "F32" : dtype) };
  });
  return collectBytes(writeSafetensors(list, {}));
}

interface TestFiles extends FileSet {
  readonly opened: Set<ByteSource>;
}

/** An adapter's folder that knows what is open. `undefined` leaves a file out. */
function makeFolder(contents: Record<string, Uint8Array | undefined>): TestFiles {
  const opened = new Set<ByteSource>();
  return {
    name: "folder",
    opened,
    async open(path) {
      const content = contents[path];
      if (content === undefined) return undefined;
      const source = openMemory(path, content);
      opened.add(source);
      return {
        ...source,
        async close() {
          opened.delete(source);
          await source.close();
        },
      };
    },
  };
}

const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

async function makeAdapter(
  config: object = {},
  tensors: Tensors = makeTensors(),
): Promise<TestFiles> {
  return makeFolder({
    "adapter_config.json": json({ ...CONFIG, ...config }),
    "adapter_model.safetensors": await makeFile(tensors),
  });
}

describe("modules_to_save", () => {
  const config = { modules_to_save: ["lm_head"] };
  const saved = Array.from({ length: 40 }, (_, i) => i / 8);
  const base = Float32Array.from({ length: 40 }, (_, i) => 3 - i / 4);

  test.each([
    "base_model.model.lm_head.weight",
    "base_model.model.lm_head.modules_to_save.weight",
    "base_model.model.lm_head.modules_to_save.default.weight",
  ])("%s is a segment of full rank: W' = W + B A", async (name) => {
    const tensors = { ...makeTensors(), [name]: { shape: [10, 4], values: saved } };
    const adapter = await openAdapter(await makeAdapter(config, tensors), linears, {
      readBase: async (path) => {
        expect(path).toBe("lm_head");
        return base;
      },
    });
    expect([...adapter.modules.keys()].at(-1)).toBe("lm_head");
    expect(adapter.modules.get("lm_head")).toMatchObject({ rank: 4, scaling: 1, rows: 10 });
    const { a, b } = await adapter.readModule("lm_head");
    for (let row = 0; row < 10; row++) {
      for (let col = 0; col < 4; col++) {
        let sum = base[row * 4 + col]!;
        for (let r = 0; r < 4; r++) sum += b[row * 4 + r]! * a[r * 4 + col]!;
        expect(sum).toBe(saved[row * 4 + col]);
      }
    }
  });

  test("needs the base to be read", async () => {
    const tensors = { ...makeTensors(), "base_model.model.lm_head.weight": { shape: [10, 4] } };
    const adapter = await openAdapter(await makeAdapter(config, tensors), linears);
    await expect(adapter.readModule("lm_head")).rejects.toMatchObject({
      code: "ADAPTER_UNSUPPORTED",
    });
  });

  test.each([
    ["another shape", { "base_model.model.lm_head.weight": { shape: [12, 4] } }],
    [
      "two names for one module",
      {
        "base_model.model.lm_head.weight": { shape: [10, 4] },
        "base_model.model.lm_head.modules_to_save.weight": { shape: [10, 4] },
      },
    ],
    [
      "a module saved and adapted",
      {
        "base_model.model.lm_head.weight": { shape: [10, 4] },
        "base_model.model.lm_head.lora_A.weight": { shape: [2, 4] },
        "base_model.model.lm_head.lora_B.weight": { shape: [10, 2] },
      },
    ],
  ])("refuses %s", async (_, more) => {
    const files = await makeAdapter(config, { ...makeTensors(), ...more });
    await expect(openAdapter(files, linears)).rejects.toMatchObject({ code: "ADAPTER_MISMATCH" });
    expect(files.opened.size).toBe(0);
  });
});

describe("a good adapter", () => {
  test("lists its modules in model order and reads their factors", async () => {
    const reversed = Object.fromEntries(Object.entries(makeTensors()).reverse());
    const files = await makeAdapter({}, reversed);
    const adapter = await openAdapter(files, linears);
    expect(adapter.source).toBe("folder");
    expect([...adapter.modules.keys()]).toEqual(linears.slice(0, 4).map(({ path }) => path));
    expect(adapter.modules.get("model.layers.1.mlp.down_proj")).toEqual({
      path: "model.layers.1.mlp.down_proj",
      rank: 2,
      scaling: 2,
      rows: 4,
      cols: 8,
      hasBias: false,
    });
    const { a, b, bias } = await adapter.readModule("model.layers.0.self_attn.q_proj");
    expect([...a]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect([...b]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(bias).toBeUndefined();
    expect(files.opened.size).toBe(1);
    await adapter.close();
    expect(files.opened.size).toBe(0);
  });

  test("hands out memory of its own", async () => {
    const adapter = await openAdapter(await makeAdapter(), linears);
    const path = "model.layers.0.self_attn.q_proj";
    (await adapter.readModule(path)).a.fill(9);
    expect((await adapter.readModule(path)).a[0]).toBe(0);
  });

  test.each([
    ["with the adapter's name", (name: string) => name.replace(/\.weight$/, ".default.weight")],
    ["without the prefix", (name: string) => name.replace("base_model.model.", "")],
    [
      "with both",
      (name: string) => name.replace("base_model.model.", "").replace(".weight", ".my-name.weight"),
    ],
  ])("may have names %s", async (_, change) => {
    const files = await makeAdapter({}, rename(makeTensors(), change));
    expect((await openAdapter(files, linears)).modules.size).toBe(4);
  });

  test.each(["F16", "BF16"] as const)("may be %s", async (dtype) => {
    const tensors = makeTensors();
    const half = Object.fromEntries(
      Object.entries(tensors).map(([name, t]) => [name, { ...t, dtype }]),
    );
    const adapter = await openAdapter(await makeAdapter({}, half), linears);
    const { b } = await adapter.readModule("model.layers.0.self_attn.q_proj");
    expect([...b]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  test("may have ranks and alphas of its own per module, and rsLoRA", async () => {
    const A = "model.layers.1.mlp.down_proj";
    const tensors = {
      ...makeTensors(),
      [`base_model.model.${A}.lora_A.weight`]: { shape: [4, 8] },
      [`base_model.model.${A}.lora_B.weight`]: { shape: [4, 4] },
    };
    const config = {
      rank_pattern: { "layers.1.mlp.down_proj": 4 },
      alpha_pattern: { down_proj: 6 },
    };
    const { modules } = await openAdapter(await makeAdapter(config, tensors), linears);
    expect(modules.get(A)).toMatchObject({ rank: 4, scaling: 1.5 });
    expect(modules.get("model.layers.0.mlp.down_proj")).toMatchObject({ rank: 2, scaling: 3 });
    const stable = await openAdapter(
      await makeAdapter({ ...config, use_rslora: true }, tensors),
      linears,
    );
    expect(stable.modules.get(A)?.scaling).toBe(3);
  });

  test("may leave out modules that its config does not target", async () => {
    const config = { target_modules: ["q_proj", "down_proj"], layers_to_transform: [1] };
    const tensors = makeTensors(linears.filter(({ layer }) => layer === 1));
    expect((await openAdapter(await makeAdapter(config, tensors), linears)).modules.size).toBe(2);
    const all = await makeAdapter({ target_modules: "all-linear" });
    expect((await openAdapter(all, linears)).modules.has("lm_head")).toBe(false);
  });

  test("may target the output layer", async () => {
    const tensors = {
      "base_model.model.lm_head.lora_A.weight": { shape: [2, 4] },
      "base_model.model.lm_head.lora_B.weight": { shape: [10, 2] },
    };
    const files = await makeAdapter({ target_modules: ["lm_head"] }, tensors);
    expect([...(await openAdapter(files, linears)).modules.keys()]).toEqual(["lm_head"]);
  });

  test("may have biases; fan_in_fan_out does not change the factors", async () => {
    const tensors = makeTensors();
    for (const { path, rows } of linears.slice(0, 4)) {
      tensors[`base_model.model.${path}.lora_B.bias`] = { shape: [rows] };
    }
    const files = await makeAdapter({ lora_bias: true, fan_in_fan_out: true }, tensors);
    const adapter = await openAdapter(files, linears);
    expect(adapter.modules.get("model.layers.0.mlp.down_proj")?.hasBias).toBe(true);
    const { bias } = await adapter.readModule("model.layers.0.mlp.down_proj");
    expect([...bias!]).toEqual([0, 1, 2, 3]);
  });

  test("may carry the training state of a Monte Carlo variant", async () => {
    const tensors = { ...makeTensors(), [`${Q0}.lora_monteclora_sampler.mean`]: { shape: [1] } };
    const files = await makeAdapter({ monteclora_config: { num_samples: 8 } }, tensors);
    expect((await openAdapter(files, linears)).modules.size).toBe(4);
  });
});

describe("refused, and nothing stays open", () => {
  const good = makeTensors();
  const plus = (name: string, shape: number[]): Tensors => ({ ...good, [name]: { shape } });
  const change = (name: string, tensor: TestTensor): Tensors => ({ ...good, [name]: tensor });
  const cases: readonly (readonly [title: string, config: object, tensors: Tensors])[] = [
    [
      "another base: shapes",
      {},
      makeTensors(
        makeLinears(2, [
          ["q_proj", 12, 8],
          ["down_proj", 8, 16],
        ]),
      ),
    ],
    [
      "another base: only rows differ",
      {},
      makeTensors(
        makeLinears(2, [
          ["q_proj", 2, 4],
          ["down_proj", 4, 8],
        ]),
      ),
    ],
    [
      "another base, named",
      { base_model_name_or_path: "org/other" },
      makeTensors(
        makeLinears(2, [
          ["q_proj", 12, 8],
          ["down_proj", 8, 16],
        ]),
      ),
    ],
    ["more layers", {}, makeTensors(makeLinears(5))],
    ["fewer layers", {}, makeTensors(makeLinears(1))],
    ["unknown modules", {}, rename(good, (name) => name.replace("q_proj", "query"))],
    ["another family", {}, rename(good, (name) => name.replace("model.layers", "transformer.h"))],
    ["tensors that no target names", { target_modules: ["q_proj"] }, good],
    ["a target without tensors", {}, without(good, `${Q0}.lora_A.weight`, `${Q0}.lora_B.weight`)],
    [
      "an output layer without tensors",
      { target_modules: ["q_proj", "down_proj", "lm_head"] },
      good,
    ],
    ["A without B", {}, without(good, `${Q0}.lora_B.weight`)],
    ["B without A", {}, without(good, `${Q0}.lora_A.weight`)],
    ["a bias alone", {}, { [`${Q0}.lora_B.bias`]: { shape: [6] } }],
    ["no tensors", {}, {}],
    ["a rank that the config does not say", { r: 4 }, good],
    ["a rank pattern that the tensors do not have", { rank_pattern: { q_proj: 3 } }, good],
    ["factors of different rank", {}, change(`${Q0}.lora_B.weight`, { shape: [6, 3] })],
    ["a factor of three dimensions", {}, change(`${Q0}.lora_A.weight`, { shape: [2, 4, 1] })],
    [
      "transposed factors",
      {},
      {
        ...good,
        [`${Q0}.lora_A.weight`]: { shape: [4, 2] },
        [`${Q0}.lora_B.weight`]: { shape: [2, 6] },
      },
    ],
    ["the same factor twice", {}, plus(`${Q0}.lora_A.default.weight`, [2, 4])],
    [
      "two adapters in one file",
      {},
      {
        ...rename(good, (name) => name.replace(".weight", ".a.weight")),
        ...rename(good, (name) => name.replace(".weight", ".b.weight")),
      },
    ],
    ["a bias that the config does not say", {}, plus(`${Q0}.lora_B.bias`, [6])],
    ["a bias that the tensors do not have", { lora_bias: true }, good],
    ["integers", {}, change(`${Q0}.lora_A.weight`, { shape: [2, 4], dtype: "I32" })],
    ["a magnitude vector", {}, plus(`${Q0}.lora_magnitude_vector`, [6])],
    ["a magnitude vector with a name", {}, plus(`${Q0}.lora_magnitude_vector.default.weight`, [6])],
    [
      "LoRA on an embedding",
      {},
      plus("base_model.model.model.embed_tokens.lora_embedding_A", [2, 10]),
    ],
    [
      "an embedding among the targets",
      { target_modules: ["q_proj", "down_proj", "embed_tokens"] },
      good,
    ],
    ["KaSA's diagonal", {}, plus(`${Q0}.lora_diag`, [2])],
    ["AdaLoRA's values", {}, plus(`${Q0}.lora_E`, [2, 1])],
    [
      "token embeddings",
      {},
      plus("base_model.model.model.embed_tokens.trainable_tokens_delta", [2, 4]),
    ],
    ["a whole module", {}, plus("base_model.model.lm_head.weight", [10, 4])],
    [
      "a saved embedding",
      { modules_to_save: ["embed_tokens"] },
      plus("base_model.model.model.embed_tokens.weight", [10, 4]),
    ],
    ["a saved bias", { modules_to_save: ["lm_head"] }, plus("base_model.model.lm_head.bias", [10])],
    ["a bias of the base", { bias: "all" }, plus(`${Q0}.bias`, [6])],
    ["an unusable regular expression", { target_modules: "(q_proj" }, good],
    ["a regular expression beyond us", { target_modules: "(.)\\1_proj" }, good],
    ["DoRA by its config", { use_dora: true }, good],
    ["a name with control characters", {}, plus("\u001b[31mred\nline", [1])],
  ];
  test.each(cases)("%s", async (title, config, tensors) => {
    const files = await makeAdapter(config, tensors);
    const message = await failureOf(() => openAdapter(files, linears));
    expect({ [title]: message }).toMatchSnapshot();
    expect(message).not.toMatch(/\p{Cc}/u);
    expect(files.opened.size).toBe(0);
  });

  const files: Record<string, Record<string, Uint8Array | undefined>> = {
    "no config": { "adapter_model.safetensors": new Uint8Array(8) },
    "no weights": { "adapter_config.json": json(CONFIG) },
    "PyTorch weights only": {
      "adapter_config.json": json(CONFIG),
      "adapter_model.bin": new Uint8Array(8),
    },
    "weights that are a Git LFS pointer": {
      "adapter_config.json": json(CONFIG),
      "adapter_model.safetensors": new TextEncoder().encode(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
      ),
    },
    "a config that is an HTML page": {
      "adapter_config.json": new TextEncoder().encode("<!DOCTYPE html>"),
    },
    "a config that is a list": { "adapter_config.json": json([]) },
  };
  test.each(Object.entries(files))("%s", async (title, contents) => {
    const folder = makeFolder(contents);
    expect({ [title]: await failureOf(() => openAdapter(folder, linears)) }).toMatchSnapshot();
    expect(folder.opened.size).toBe(0);
  });

  test("many thousand unknown modules", async () => {
    const tensors: Tensors = {};
    for (let i = 0; i < 30_000; i++) {
      tensors[`model.layers.${i}.x.lora_A.weight`] = { shape: [0] };
      tensors[`model.layers.${i}.x.lora_B.weight`] = { shape: [0] };
    }
    const adapter = await makeAdapter({}, tensors);
    expect(await failureOf(() => openAdapter(adapter, linears))).toMatchInlineSnapshot(
      `"ADAPTER_MISMATCH: the adapter changes modules that the base model does not have: expected linear layers such as model.layers.0.self_attn.q_proj, found model.layers.0.x and 29999 more (folder). The adapter was probably trained for another base model."`,
    );
  });
});

test.each([
  ["NaN", Number.NaN],
  ["an infinity", Number.NEGATIVE_INFINITY],
])("%s is refused when read", async (_, value) => {
  const values = [0, 0, 0, 0, 0, value, 0, 0];
  const tensors = { ...makeTensors(), [`${Q0}.lora_A.weight`]: { shape: [2, 4], values } };
  const adapter = await openAdapter(await makeAdapter({}, tensors), linears);
  const message = await failureOf(() => adapter.readModule("model.layers.0.self_attn.q_proj"));
  expect(message).toBe(
    `WEIGHTS_NOT_FINITE: an adapter's weights are not all finite: found ${value} at element 5 ` +
      `(${Q0}.lora_A.weight in adapter_model.safetensors). Its training has diverged, or the file is damaged.`,
  );
  await adapter.readModule("model.layers.1.self_attn.q_proj");
});

test("a module that the adapter does not change is not read", async () => {
  const adapter = await openAdapter(await makeAdapter(), linears);
  expect(await failureOf(() => adapter.readModule("lm_head"))).toMatchInlineSnapshot(
    `"ADAPTER_MISMATCH: the adapter does not change lm_head (adapter_model.safetensors)"`,
  );
});

/** Opens a real adapter and checks each factor against its tensor in the file. */
async function checkRealAdapter(
  base: string,
  folder: string,
  rank: number,
  scaling: number,
): Promise<void> {
  const config = parseModelConfig(
    JSON.parse(readFileSync(join(base, "config.json"), "utf8")),
    undefined,
    base,
  );
  const all = listLinears(config);
  const adapter = await openAdapter(await openFileSet(folder), all);
  const file = await openSafetensors(
    openMemory("file", readFileSync(join(folder, "adapter_model.safetensors"))),
  );
  expect([...adapter.modules.keys()]).toEqual(
    all.map(({ path }) => path).filter((path) => path !== "lm_head"),
  );
  for (const module of adapter.modules.values()) {
    expect(module).toMatchObject({ rank, scaling, hasBias: false });
    const { a, b } = await adapter.readModule(module.path);
    for (const [factor, name, length] of [
      [a, "lora_A", module.cols],
      [b, "lora_B", module.rows],
    ] as const) {
      expect(factor.length).toBe(rank * length);
      const bytes = await file.read(`base_model.model.${module.path}.${name}.weight`);
      expect(
        Buffer.compare(fromFloat32(factor, "F32"), fromFloat32(toFloat32(bytes, "F32"), "F32")),
      ).toBe(0);
    }
  }
  await adapter.close();
}

describe("the kitchen's adapters", () => {
  const kitchen = fileURLToPath(new URL("../../demo/kitchen", import.meta.url));
  const micro = fileURLToPath(new URL("../golden/kitchen/micro", import.meta.url));
  test.each([
    ["knowledge", 8, 2],
    ["format", 8, 2],
  ])("%s", async (name, rank, scaling) => {
    await checkRealAdapter(join(kitchen, "base"), join(kitchen, "adapters", name), rank, scaling);
  });
  test.each([
    ["adapter_a", 4, 2],
    ["adapter_b", 6, 1.5],
  ])("micro: %s", async (name, rank, scaling) => {
    await checkRealAdapter(micro, join(micro, name), rank, scaling);
  });
});

describeWithSharedData("stories260K's adapters", () => {
  const base = sharedData("stories260K", "hf-f32");
  test.each([
    ["gsm8k-questions", 4],
    ["shakespeare", 2],
  ])("%s", async (name, scaling) => {
    await checkRealAdapter(base, sharedData("stories260K", "adapters", name), 8, scaling);
  });
  test("does not fit another base", async () => {
    const files = await openFileSet(sharedData("stories260K", "adapters", "shakespeare"));
    const message = await failureOf(() => openAdapter(files, linears), sharedData());
    expect(message).toMatch(/^ADAPTER_MISMATCH: .*trained for another base model.*stories260K/);
  });
});
