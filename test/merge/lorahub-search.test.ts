// LoRAHub's search on functions whose minimum is known.
import { describe, expect, test } from "vitest";
import { type LorahubEvaluation, searchLorahub } from "../../src/soup/methods/lorahub-search.ts";

/** A bowl around a point: what the loss of a soup looks like near its best weights. */
const bowl =
  (center: readonly number[]) =>
  (weights: readonly number[]): number =>
    center.reduce((sum, c, i) => sum + (weights[i]! - c) ** 2, 1);

async function record(
  options: Partial<Parameters<typeof searchLorahub>[0]>,
): Promise<[LorahubEvaluation, LorahubEvaluation[]]> {
  const all: LorahubEvaluation[] = [];
  const best = await searchLorahub({
    adapters: 2,
    loss: bowl([0.7, 0.4]),
    onEvaluation: (evaluation) => all.push(evaluation),
    ...options,
  });
  return [best, all];
}

describe("LoRAHub's search", () => {
  test("starts at 0, evaluates 40 times within ±1.5, and returns the best", async () => {
    const [best, all] = await record({});
    expect(all.length).toBe(40);
    expect(all[0]!.weights).toEqual([0, 0]);
    expect(all.every(({ weights }) => weights.every((w) => Math.abs(w) <= 1.5))).toBe(true);
    expect(best.objective).toBe(Math.min(...all.map(({ objective }) => objective)));
    const [x, y] = best.weights as [number, number];
    expect(best.objective).toBeCloseTo(best.loss + (0.05 * (Math.abs(x) + Math.abs(y))) / 2, 12);
  });

  test.each([
    [2, [0.7, 0.4], 0.05],
    [3, [0.7, -0.4, 1], 0.3],
    [5, [0.5, 0.5, -0.5, 1, 0], 0.9],
  ])("comes near the minimum of %i weights from ten seeds", async (adapters, center, within) => {
    const excesses: number[] = [];
    for (let seed = 0; seed < 10; seed++) {
      const [best] = await record({ adapters, loss: bowl(center), regularization: 0, seed });
      excesses.push(best.loss - 1);
    }
    excesses.sort((a, b) => a - b);
    expect(excesses[5]).toBeLessThan(within);
    // Base alone is the start: never worse.
    expect(excesses[9]).toBeLessThan(bowl(center)(center.map(() => 0)) - 1);
  });

  test("the same seed gives the same weights, another seed others", async () => {
    const [first] = await record({ seed: 3 });
    expect(await searchLorahub({ adapters: 2, loss: bowl([0.7, 0.4]), seed: 3 })).toEqual(first);
    expect((await record({ seed: 4 }))[0].weights).not.toEqual(first.weights);
    // Pinned: additions, multiplications and the specified generator are the same on every host.
    expect(first.weights).toMatchInlineSnapshot(`
      [
        0.6811899114966592,
        0.44379380232041526,
      ]
    `);
  });

  test("losses that are not finite are the worst, and all of them are an error", async () => {
    const loss = (weights: readonly number[]): number =>
      weights[0]! < 0.5 ? Number.NaN : bowl([0.7, 0.4])(weights);
    const [best] = await record({ loss });
    expect(best.weights[0]).toBeGreaterThanOrEqual(0.5);
    await expect(record({ loss: () => Number.NaN })).rejects.toMatchObject({
      code: "SOUP_INVALID",
    });
  });

  test("awaits the loss and stops on a signal", async () => {
    const controller = new AbortController();
    let calls = 0;
    const loss = async (): Promise<number> => {
      if (++calls === 3) controller.abort();
      return calls;
    };
    await expect(record({ loss, signal: controller.signal })).rejects.toMatchObject({
      code: "ABORTED",
    });
    expect(calls).toBe(3);
  });

  test.each([
    { adapters: 0 },
    { adapters: 1.5 },
    { evaluations: 0 },
    { bound: 0 },
    { bound: Number.NaN },
    { regularization: -1 },
    { seed: -1 },
  ])("refuses %o", async (options) => {
    await expect(record(options)).rejects.toMatchObject({ code: "OPTION_INVALID" });
  });
});
