// What would be submitted and allocated, counted without a GPU.
import { describe, expect, test } from "vitest";
import { DEFAULT_LIMITS } from "../../src/backend/webgpu/plan-device.ts";
import { planToken } from "../../src/cli/webgpu-plan.ts";
import { PLAN_SHAPES } from "../../src/cli/webgpu-plan-table.ts";
import { parseModelConfig } from "../../src/model/config.ts";

const MIB = 2 ** 20;
const configOf = (shape: string) => parseModelConfig(PLAN_SHAPES[shape], undefined, shape);

describe.each(Object.keys(PLAN_SHAPES))("a token of %s at q4", (shape) => {
  test.each([
    [0, 0],
    [2, 0],
    [0, 200],
    [2, 200],
  ])(
    "with %d adapters at position %d: 8 dispatches per layer, one submission, 1.05 of the least bytes",
    async (adapters, position) => {
      const options = { type: "q4", adapters, rank: 16, position, contextLength: 1024 } as const;
      const plan = await planToken(configOf(shape), options);
      const { layers } = configOf(shape);
      expect(plan.dispatchesPerLayer).toBeLessThanOrEqual(8);
      expect(plan.dispatches).toBeLessThanOrEqual(8 * layers + 6); // embedding and head, in up to three parts
      expect(plan.submissions).toBe(1);
      expect(plan.bytes).toBeGreaterThanOrEqual(plan.leastBytes);
      expect(plan.bytes).toBeLessThanOrEqual(1.05 * plan.leastBytes);
    },
  );
});

test.each([
  [0, 10],
  [2, 18],
])("a prompt at q4 with %d adapters: %d dispatches per layer", async (adapters, expected) => {
  const options = { type: "q4", adapters, rank: 16, position: 0, contextLength: 1024 } as const;
  const plan = await planToken(configOf("SmolLM2-135M"), { ...options, tokens: 128 });
  expect(plan.dispatchesPerLayer).toBe(expected);
  expect(plan.submissions).toBe(1);
});

describe("models larger than any binding", () => {
  test.each([
    ["Llama-2-7B", 6.3e9, 7.7e9], // 4.2 GB of weights, 2.1 of cache, 0.08 of adapters
    ["Llama-3.2-3B", 2.5e9, 3.1e9], // 2.0, 0.5, 0.04
  ])(
    "%s at q4 with two adapters fits a device with the least limits",
    async (shape, least, most) => {
      const options = {
        type: "q4",
        adapters: 2,
        rank: 16,
        position: 0,
        contextLength: 2048,
      } as const;
      const { buffers } = await planToken(configOf(shape), options);
      const weights = buffers.filter(({ label }) => label.startsWith("weights"));
      const total = (list: typeof buffers): number => list.reduce((sum, { size }) => sum + size, 0);
      expect(buffers[0]!.size).toBeLessThanOrEqual(DEFAULT_LIMITS.maxStorageBufferBindingSize);
      expect(weights.length).toBeGreaterThan(total(weights) / (128 * MIB) - 1);
      expect(total(buffers)).toBeGreaterThan(least);
      expect(total(buffers)).toBeLessThan(most);
    },
  );

  test("a device with larger bindings holds the same weights in few buffers", async () => {
    const limits = { maxBufferSize: 2048 * MIB, maxStorageBufferBindingSize: 2048 * MIB };
    const options = { type: "q4", adapters: 0, rank: 16, position: 0, contextLength: 512 } as const;
    const { buffers, dispatchesPerLayer } = await planToken(configOf("Llama-2-7B"), {
      ...options,
      limits,
    });
    const weights = buffers.filter(({ label }) => label.startsWith("weights"));
    expect(weights.length).toBeLessThan(30);
    expect(dispatchesPerLayer).toBe(8);
  });

  test("what fits no buffer is refused by name", async () => {
    const options = {
      type: "q4",
      adapters: 0,
      rank: 16,
      position: 0,
      contextLength: 4096,
    } as const;
    const limits = { maxBufferSize: 64 * MIB, maxStorageBufferBindingSize: 64 * MIB };
    await expect(planToken(configOf("Llama-2-7B"), { ...options, limits })).rejects.toMatchObject({
      code: "OUT_OF_MEMORY",
    });
  });
});
