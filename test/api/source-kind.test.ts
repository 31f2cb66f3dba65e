// Whether files are a model or an adapter, whatever their names, and what is said of files that do not tell.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findSourceKind } from "../../src/index.ts";
import { failureOf } from "../formats/failure.ts";
import { COMMIT, MockHub } from "../sources/hub-mock.ts";
import { makeGguf } from "../support/gguf.ts";
import { GGUF_CONFIG, makeAdapters, makeGgufModel, modelMetadata } from "../support/gguf-models.ts";
import { kitchenPath } from "../support/kitchen.ts";

const model = makeGgufModel(() => "Q4_K").file;
const adapter = makeAdapters(GGUF_CONFIG).gguf;
const nothing = new Uint8Array(0);

describe("the kind of", () => {
  test.each([
    ["a model's folder", kitchenPath("base"), "model"],
    ["an adapter's folder", kitchenPath("adapters/format"), "adapter"],
    ["a GGUF model that is called an adapter", { "my-lora-adapter.gguf": model }, "model"],
    ["a GGUF adapter that is called a model", { "model.gguf": adapter }, "adapter"],
    ["a picked file", [new File([adapter as Uint8Array<ArrayBuffer>], "a.gguf")], "adapter"],
    [
      "a model with a GGUF adapter beside it",
      { "config.json": nothing, "a.gguf": adapter },
      "model",
    ],
    ["an adapter in both formats", { "adapter_config.json": nothing, "a.gguf": model }, "adapter"],
    ["something else", { "cat.jpg": nothing }, undefined],
    ["nothing", {}, undefined],
  ] as const)("%s", async (_, source, kind) => {
    expect(await findSourceKind(source)).toBe(kind);
  });
});

describe("files that do not tell:", () => {
  const split = makeGguf({
    metadata: { ...modelMetadata(GGUF_CONFIG), "split.count": ["u32", 2], "split.no": ["u32", 0] },
  });
  test.each([
    [
      "a truncated one",
      { "a.gguf": adapter.subarray(0, adapter.length - 40) },
      /^FORMAT_INVALID: the file is truncated/,
    ],
    ["one that is no GGUF file", { "a.gguf": new Uint8Array(64) }, /^FORMAT_INVALID: this is not/],
    [
      "a missing shard",
      { "m-00001-of-00002.gguf": split },
      /^SOURCE_NOT_FOUND: there is no file m-00002-of-00002\.gguf/,
    ],
    ["one of two", { "a.gguf": adapter, "b.gguf": adapter }, /^OPTION_INVALID: .* several GGUF/],
  ] as const)("%s", async (_, source, message) => {
    expect(await failureOf(() => findSourceKind(source))).toMatch(message);
  });
});

describe("at a hub", () => {
  const hub = new MockHub();
  beforeAll(async () => {
    await hub.start();
    const files = { "big.gguf": { content: model, lfs: true }, "x.gguf": { content: adapter } };
    hub.repos.set("org/gguf", { commit: COMMIT, files });
  });
  afterAll(() => hub.stop());

  test("no file is downloaded for its header", async () => {
    const options = { hub: { endpoint: hub.endpoint } };
    expect(await findSourceKind("org/gguf/big.gguf", options)).toBe("model");
    expect(hub.sent).toBeLessThan(model.length / 2);
    expect(await findSourceKind("org/gguf/x.gguf", options)).toBe("adapter");
  });
});
