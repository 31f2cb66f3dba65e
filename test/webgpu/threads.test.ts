// Workgroups of other sizes than the usual one: the same cases, around every size's edges, results poisoned beforehand.
import { afterAll, beforeAll, describe, test } from "vitest";
import type { Backend } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/create.ts";
import { findGpu, openDevice } from "../../src/backend/webgpu/device.ts";
import { WebGpuBackend } from "../../src/backend/webgpu/webgpu-backend.ts";
import { cases, linearCase } from "../backend/cases.ts";
import { gradientCases } from "../backend/gradient-cases.ts";
import { expectClose } from "../support/values.ts";
import { SWIFTSHADER, webgpuMissing } from "../support/webgpu.ts";

/** Columns and rows of 1, around blocks, tiles and workgroups, a prime, a real width. */
const SIZES = [1, 31, 33, 63, 64, 65, 127, 128, 129, 257, 576];
const TOKENS = [1, 2, 31, 32, 33, 65];
const sweep = SIZES.map((cols, i) =>
  linearCase({
    type: (["f32", "q8", "q4"] as const)[i % 3]!,
    rows: SIZES.at(-1 - i)!,
    cols,
    n: TOKENS[i % TOKENS.length]!,
    bank: [
      { rank: SIZES[i % 5]!, m: 0.7 },
      { rank: 3, m: -0.2 },
    ],
  }),
);
const some = [...cases, ...gradientCases].filter((_, i) => i % 5 === 0);

describe.skipIf(webgpuMissing !== undefined)("on a device", () => {
  describe.each([32, 128])("workgroups of %d threads", (threads) => {
    const reference = createReferenceBackend();
    let backend: Backend;
    beforeAll(async () => {
      process.env.VK_DRIVER_FILES ??= SWIFTSHADER;
      const gpu = (await findGpu()) as GPU;
      const open = await openDevice(gpu, (await gpu.requestAdapter())!);
      backend = new WebGpuBackend(open, { threads });
    });
    afterAll(async () => {
      await backend.dispose();
    });

    const widest = threads === 32 ? /× (130|192|256),/ : /never/;
    test.each([...sweep, ...some].filter(({ name }) => !widest.test(name)))(
      "$name",
      async (one) => {
        const expected = await one.run(reference);
        const bound = one.gpuBound ?? one.bound;
        const actual = await one.run(backend);
        expectClose(actual, expected, typeof bound === "number" ? bound : bound(expected));
      },
    );
  });
});
