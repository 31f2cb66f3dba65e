// The public API on the embedded model: texts, logits, lifecycle, and what bad input leaves behind.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { createRandomAdapter } from "../../src/cli/random-model.ts";
import { type FileSet, loadModel, type Model, TureenError } from "../../src/index.ts";
import {
  BACKENDS,
  goldenPath,
  kitchenPath,
  loadKitchen,
  loadMicro,
  QUESTION,
  readGolden,
} from "../support/kitchen.ts";

const SOUP = { knowledge: 1, format: 1 };

describe.each(BACKENDS)("on $backend", (options) => {
  test("greedy texts equal the goldens: base, both adapters, the learned soup", async () => {
    const model = await loadKitchen(options);
    const soups = {
      base: undefined,
      knowledge: model.soup({ knowledge: 1 }),
      format: model.soup({ format: 1 }),
      soup: await model.loadSoup(readFileSync(kitchenPath("soups/learned.json"), "utf8")),
    };
    let compared = 0;
    for (const golden of readGolden("greedy.json")) {
      if (golden.min_top2_margin < 1e-3) continue; // a tie, as far as f32 can tell
      const soup = soups[golden.setup as keyof typeof soups];
      const result = await model.generate(golden.prompt, { soup, maxTokens: 24 }).result();
      expect(result.promptTokenIds).toEqual(golden.prompt_ids);
      expect(result.tokenIds).toEqual(golden.new_ids);
      expect(result.text).toBe(golden.text);
      expect(result.finishReason).toBe(golden.eos ? "stop" : "length");
      compared++;
    }
    expect(compared).toBeGreaterThan(40);
    await model.dispose();
  });

  test("logits of all positions end with those of the last", async () => {
    const model = await loadMicro(options);
    const ids = [1, 5, 200, 7];
    const all = await model.logits(ids, { all: true, soup: { a: 1 } });
    const last = await model.logits(ids, { soup: { a: 1 } });
    expect(all.length).toBe(ids.length * model.config.vocabSize);
    expect(all.subarray(-model.config.vocabSize)).toEqual(last);
    await model.dispose();
  });

  test("several texts at once give what each gives alone", async () => {
    const model = await loadKitchen(options);
    const requests = [
      { soup: undefined, seed: 1 },
      { soup: { knowledge: 1 }, seed: 2 },
      { soup: { format: 1 }, seed: 3 },
      { soup: SOUP, seed: 4 },
    ].map((request) => ({ ...request, temperature: 0.9, maxTokens: 12 }));
    const alone = [];
    for (const request of requests) alone.push(await model.generate(QUESTION, request).result());
    const together = await Promise.all(
      requests.map((request) => model.generate(QUESTION, request).result()),
    );
    expect(together.map(({ tokenIds }) => tokenIds)).toEqual(alone.map(({ tokenIds }) => tokenIds));
    await model.dispose();
  });

  test("the same soup in another order of names gives the same bits", async () => {
    const model = await loadKitchen(options);
    const ids = model.tokenize(QUESTION);
    const one = await model.logits(ids, { soup: { knowledge: 0.3, format: 0.9 } });
    expect(await model.logits(ids, { soup: { format: 0.9, knowledge: 0.3 } })).toEqual(one);
    await model.dispose();
  });

  test("dispose ends a running text with DISPOSED, and everything after it", async () => {
    const model = await loadKitchen(options);
    const session = model.createSession();
    const generation = model.generate(QUESTION, { session, ignoreEos: true });
    const chunks = generation.chunks();
    await chunks.next();
    await model.dispose();
    await model.dispose();
    await expect(chunks.next()).rejects.toMatchObject({ code: "DISPOSED" });
    await expect(generation.result()).rejects.toMatchObject({ code: "DISPOSED" });
    expect(() => model.generate("x")).toThrow(/disposed/);
    expect(() => model.soup()).toThrow(/disposed/);
    await expect(model.logits([1])).rejects.toMatchObject({ code: "DISPOSED" });
    await expect(
      model.loadAdapter(kitchenPath("adapters/datamix"), { name: "d" }),
    ).rejects.toMatchObject({ code: "DISPOSED" });
    session.dispose();
  });
});

describe("reading a generation", () => {
  test("text, chunks and result agree", async () => {
    const model = await loadKitchen();
    const options = { soup: SOUP, temperature: 0.7, seed: 11, maxTokens: 12 };
    let text = "";
    for await (const piece of model.generate(QUESTION, options)) text += piece;
    const generation = model.generate(QUESTION, options);
    const tokens: number[] = [];
    for await (const chunk of generation.chunks()) tokens.push(...chunk.tokenIds);
    const result = await generation.result();
    expect(result.text).toBe(text);
    expect(result.tokenIds).toEqual(tokens);
    expect(result.seed).toBe(11);
    await model.dispose();
  });

  test("a reader that leaves early ends it; the result is what there was", async () => {
    const model = await loadKitchen();
    const generation = model.generate(QUESTION, { soup: SOUP });
    let text = "";
    for await (const piece of generation) {
      text += piece;
      break;
    }
    expect(await generation.result()).toMatchObject({ text, finishReason: "abort" });
    await model.dispose();
  });

  test("a signal ends it with finish reason abort", async () => {
    const model = await loadKitchen();
    const controller = new AbortController();
    const { signal } = controller;
    const generation = model.generate(QUESTION, { soup: SOUP, signal, ignoreEos: true });
    let chunks = 0;
    for await (const _ of generation.chunks()) if (++chunks === 3) controller.abort();
    const result = await generation.result();
    expect(result).toMatchObject({ finishReason: "abort" });
    expect(result.tokenIds).toHaveLength(3);
    await model.dispose();
  });

  test("a full context ends it with finish reason context", async () => {
    const model = await loadKitchen({ backend: "wasm", threads: 1, contextLength: 40 });
    const { promptTokenIds, tokenIds, finishReason } = await model
      .generate(QUESTION, { ignoreEos: true })
      .result();
    expect(finishReason).toBe("context");
    // The last token needs no place in the cache.
    expect(promptTokenIds.length + tokenIds.length).toBe(41);
    await model.dispose();
  });
});

describe("prompts", () => {
  let model: Model;
  const check = async (run: () => unknown, code: string, text: RegExp) => {
    model ??= await loadKitchen({ backend: "wasm", threads: 1, contextLength: 64 });
    const error = await Promise.resolve()
      .then(run)
      .catch((caught) => caught);
    expect(error).toBeInstanceOf(TureenError);
    expect(error).toMatchObject({ code, message: expect.stringMatching(text) });
  };
  const generate = (prompt: unknown, options = {}) =>
    model.generate(prompt as string, options).result();

  test.each<[string, () => unknown, string, RegExp]>([
    ["empty", () => generate([]), "OPTION_INVALID", /empty/],
    ["id too large", () => generate([1, 768]), "TOKEN_OUT_OF_RANGE", /0..767.*768/],
    ["id negative", () => generate([-1]), "TOKEN_OUT_OF_RANGE", /-1/],
    ["id not whole", () => generate([1.5]), "TOKEN_OUT_OF_RANGE", /1.5/],
    ["too long", () => generate(Array(65).fill(5)), "PROMPT_TOO_LONG", /64.*65/],
    ["no prompt", () => generate(undefined), "OPTION_INVALID", /prompt/],
    ["mixed", () => generate([1, "a"]), "OPTION_INVALID", /"a"/],
    ["no template", () => generate([{ role: "user", content: "" }]), "OPTION_INVALID", /template/],
    ["bad option", () => generate("a", { temperature: -1 }), "OPTION_INVALID", /temperature/],
    ["unknown adapter", () => generate("a", { soup: { x: 1 } }), "ADAPTER_NOT_FOUND", /format/],
    ["NaN weight", () => generate("a", { soup: { format: NaN } }), "SOUP_INVALID", /NaN/],
    ["logits of nothing", () => model.logits([]), "OPTION_INVALID", /token/],
    ["logits too long", () => model.logits(Array(65).fill(5)), "PROMPT_TOO_LONG", /64/],
    ["logits of no token", () => model.logits([768]), "TOKEN_OUT_OF_RANGE", /768/],
  ])("%s", async (_, run, code, text) => {
    await check(run, code, text);
    // and the model goes on working
    const { text: answer } = await model.generate(QUESTION, { soup: SOUP }).result();
    expect(answer).toBe(" Daxpel carries a ladder.");
  });

  test("a model without tokenizer takes token ids, and says so for text", async () => {
    const micro = await loadMicro();
    const result = await micro.generate([1, 2, 3], { maxTokens: 4, ignoreEos: true }).result();
    expect(result).toMatchObject({ text: "", finishReason: "length" });
    expect(() => micro.tokenize("text")).toThrow(/no tokenizer.json/);
    await micro.dispose();
  });

  test("chat messages go through the model's template", async () => {
    const chat_template =
      "{{ bos_token }}{% for m in messages %}### {{ m.role }}: {{ m.content }}\n{% endfor %}### Answer:";
    const files = overlay(kitchenPath("base"), {
      "chat_template.jinja": new TextEncoder().encode(chat_template),
    });
    const chatty = await loadModel(await files, { backend: "reference" });
    const ids = chatty.tokenize([{ role: "Question", content: "What does Daxpel carry?" }]);
    expect(ids).toEqual(chatty.tokenize(QUESTION));
    await chatty.dispose();
  });
});

describe("adapters", () => {
  test("are listed in load order; names are unique and usable", async () => {
    const model = await loadKitchen();
    expect(model.adapters).toMatchObject([
      { name: "knowledge", modules: 42, ranks: [8] },
      { name: "format", modules: 42, ranks: [8] },
    ]);
    const { linears } = model.adapters[0]!;
    expect(linears).toHaveLength(42);
    expect(linears[0]).toBe("model.layers.0.self_attn.q_proj");
    const load = (name: string) => model.loadAdapter(kitchenPath("adapters/datamix"), { name });
    await expect(load("format")).rejects.toMatchObject({ code: "ADAPTER_DUPLICATE" });
    for (const name of ["", " ", "a=b", "a,b", "a\n"]) {
      await expect(load(name)).rejects.toMatchObject({ code: "OPTION_INVALID" });
    }
    await expect(
      model.loadAdapter(kitchenPath("adapters/datamix"), {} as never),
    ).rejects.toMatchObject({ code: "OPTION_INVALID" });
    const both = await Promise.allSettled([load("mix"), load("mix")]);
    expect(both.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(model.adapters.map(({ name }) => name)).toEqual(["knowledge", "format", "mix"]);
    await model.unloadAdapter("mix");
    await expect(model.unloadAdapter("mix")).rejects.toMatchObject({ code: "ADAPTER_NOT_FOUND" });
    await load("mix"); // the name is free again
    await model.dispose();
  });

  test("that cannot be loaded leave the model as it was", async () => {
    const model = await loadKitchen({ backend: "wasm", threads: 1 });
    const ids = model.tokenize(QUESTION);
    const before = await model.logits(ids, { soup: SOUP });
    const format = kitchenPath("adapters/format");
    const weights = readFileSync(`${format}/adapter_model.safetensors`);
    const config = readFileSync(`${format}/adapter_config.json`);
    const json = JSON.parse(config.toString());
    const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
    const files = { "adapter_config.json": config, "adapter_model.safetensors": weights };
    const poisoned = Uint8Array.from(weights);
    poisoned.set([0, 0, 0xc0, 0x7f], poisoned.length - 4); // NaN
    const cases: [object | string, string][] = [
      [{ ...files, "adapter_model.safetensors": weights.subarray(0, 9000) }, "FORMAT_INVALID"],
      [{ ...files, "adapter_model.safetensors": poisoned }, "WEIGHTS_NOT_FINITE"],
      [
        { ...files, "adapter_config.json": encode({ ...json, use_dora: true }) },
        "ADAPTER_UNSUPPORTED",
      ],
      [
        { ...files, "adapter_config.json": encode({ ...json, peft_type: "IA3" }) },
        "ADAPTER_UNSUPPORTED",
      ],
      [{ ...files, "adapter_config.json": encode({ ...json, r: 4 }) }, "ADAPTER_MISMATCH"],
      [goldenPath("micro/adapter_a"), "ADAPTER_MISMATCH"],
      [{ "adapter_model.safetensors": weights }, "SOURCE_NOT_FOUND"],
      [kitchenPath("adapters/none"), "SOURCE_NOT_FOUND"],
      [{ ...files, "adapter_model.safetensors": encode("<!DOCTYPE html>") }, "FORMAT_INVALID"],
    ];
    for (const [source, code] of cases) {
      const loading = model.loadAdapter(source as Record<string, Uint8Array>, { name: "bad" });
      await expect(loading).rejects.toMatchObject({ code });
      expect(model.adapters).toHaveLength(2);
      expect(await model.logits(ids, { soup: SOUP })).toEqual(before);
    }
    await model.dispose();
  });

  test("loading can be aborted between linear layers, leaving nothing", async () => {
    const model = await loadKitchen();
    const files = await createRandomAdapter(model.config, 4, 1);
    const controller = new AbortController();
    let reads = 0;
    const counting: FileSet = {
      name: "counting",
      async open(path) {
        const bytes = files[path];
        if (bytes === undefined) return undefined;
        return {
          name: path,
          size: bytes.byteLength,
          async read(offset, nBytes) {
            if (++reads === 12) controller.abort();
            return bytes.subarray(offset, offset + nBytes);
          },
          close: async () => {},
        };
      },
    };
    const loading = model.loadAdapter(counting, { name: "x", signal: controller.signal });
    await expect(loading).rejects.toMatchObject({ code: "ABORTED" });
    expect(model.adapters).toHaveLength(2);
    await model.loadAdapter(counting, { name: "x" });
    await model.dispose();
  });
});

describe("loadModel", () => {
  test.each<[string, object, string]>([
    ["unknown quantize", { quantize: "q5" }, "OPTION_INVALID"],
    ["unknown backend", { backend: "cuda" }, "OPTION_INVALID"],
    ["context 0", { contextLength: 0 }, "OPTION_INVALID"],
    ["context beyond the model's", { contextLength: 257 }, "OPTION_INVALID"],
    ["aborted", { signal: AbortSignal.abort() }, "ABORTED"],
  ])("%s is refused", async (_, options, code) => {
    await expect(loadModel(kitchenPath("base"), options)).rejects.toMatchObject({ code });
  });

  test("broken folders give their own errors", async () => {
    const read = (path: string) => readFileSync(kitchenPath(`base/${path}`));
    const files = {
      "config.json": read("config.json"),
      "model.safetensors": read("model.safetensors"),
      "tokenizer.json": read("tokenizer.json"),
    };
    const json = JSON.parse(files["config.json"].toString());
    const config = (change: object) => Buffer.from(JSON.stringify({ ...json, ...change }));
    const { "config.json": _, ...noConfig } = files;
    const cases: [Record<string, Uint8Array>, string][] = [
      [noConfig, "SOURCE_NOT_FOUND"],
      [{ ...files, "config.json": config({ model_type: "mamba" }) }, "MODEL_UNSUPPORTED"],
      [{ ...files, "config.json": config({ hidden_size: 256 }) }, "MODEL_TENSOR_MISMATCH"],
      [{ ...files, "config.json": config({ num_hidden_layers: 7 }) }, "MODEL_TENSOR_MISSING"],
      [{ ...files, "config.json": config({ vocab_size: -1 }) }, "MODEL_CONFIG_INVALID"],
      [{ "config.json": files["config.json"] }, "SOURCE_NOT_FOUND"],
      [{ ...files, "tokenizer.json": Buffer.from("{}") }, "TOKENIZER_INVALID"],
      [
        { ...files, "model.safetensors": files["model.safetensors"].subarray(0, 100_000) },
        "FORMAT_INVALID",
      ],
      [
        {
          ...files,
          "model.safetensors": Buffer.from(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0",
          ),
        },
        "FORMAT_INVALID",
      ],
    ];
    for (const [source, code] of cases) {
      await expect(loadModel(source, { backend: "reference" })).rejects.toMatchObject({ code });
    }
  });

  test("reports progress up to the whole, and what it loaded", async () => {
    const shares: number[] = [];
    const model = await loadModel(kitchenPath("base"), {
      backend: "wasm",
      threads: 1,
      quantize: "q8",
      onProgress: ({ bytesDone, bytesTotal }) => shares.push(bytesDone / bytesTotal),
    });
    expect(shares.at(-1)).toBe(1);
    expect([...shares].sort((a, b) => a - b)).toEqual(shares);
    const { backend, weightType, weightBytes, contextLength } = model.info;
    expect(backend).toMatchObject({ name: "wasm", threads: 1 });
    expect({ weightType, contextLength }).toEqual({ weightType: "q8", contextLength: 256 });
    expect(weightBytes).toBeLessThan(1_279_616 * 1.25);
    await model.dispose();
  });
});

/** A folder with some files replaced. */
async function overlay(folder: string, files: Record<string, Uint8Array>): Promise<FileSet> {
  const { openFileSet } = await import("../../src/sources/open.ts");
  const [below, above] = [await openFileSet(folder), await openFileSet(files)];
  return {
    name: folder,
    open: async (path, options) => (await above.open(path, options)) ?? below.open(path, options),
  };
}
