// The thread pool: it starts at once, survives any number of starts, and its death is an error, not a hang.
import { describe, expect, test } from "vitest";
import { supportedBuilds } from "../../src/backend/wasm/builds.ts";
import { createWasmBackend } from "../../src/backend/wasm/create.ts";

const available = supportedBuilds().includes("baseline-threads");

describe.skipIf(!available)("thread pool (needs shared memory)", () => {
  test("takes a list right after its start, 30 times over", async () => {
    for (let round = 0; round < 30; round++) {
      const backend = await createWasmBackend({ threads: 2 + (round % 2) });
      const x = backend.createTensor(4, 32);
      backend.siluMul(x, x, x, 4);
      expect(await backend.read(x, 0, 1)).toEqual(new Float32Array(32));
      await backend.dispose();
    }
  });

  test.each([0, 257, 1.5, Number.NaN])("refuses %d threads", async (threads) => {
    await expect(createWasmBackend({ threads })).rejects.toMatchObject({ code: "OPTION_INVALID" });
  });

  test("refuses threads on a build without", async () => {
    await expect(createWasmBackend({ threads: 2, build: "baseline" })).rejects.toMatchObject({
      code: "OPTION_INVALID",
    });
  });
});
