// A model and an adapter from a plain server: how many requests they take.
import { expect, test } from "vitest";
import { loadModel } from "../../src/index.ts";
import { serveFiles } from "../hosts/server.ts";
import { kitchenPath } from "../support/kitchen.ts";

/** 5.1 MB and 0.6 MB; read one after another they were 153 requests. */
test("the kitchen's base and an adapter take a handful of requests for their weights", async () => {
  const server = await serveFiles({ "/": kitchenPath("") });
  try {
    const model = await loadModel(`${server.url}base`, { backend: "reference" });
    const forBase = server.take();
    await model.loadAdapter(`${server.url}adapters/format`, { name: "format" });
    const forAdapter = server.take();
    const local = await loadModel(kitchenPath("base"), { backend: "reference" });
    await local.loadAdapter(kitchenPath("adapters/format"), { name: "format" });
    const soup = { format: 1 };
    expect(await model.logits([1, 5, 9], { soup })).toEqual(
      await local.logits([1, 5, 9], { soup }),
    );
    const weights = (lines: readonly string[]) =>
      lines.filter((line) => line.endsWith(".safetensors")).length;
    expect(weights(forBase)).toBeLessThanOrEqual(4);
    expect(weights(forAdapter)).toBeLessThanOrEqual(3);
    expect(forBase.length + forAdapter.length).toBeLessThanOrEqual(16);
    await model.dispose();
    await local.dispose();
  } finally {
    await server.close();
  }
});
