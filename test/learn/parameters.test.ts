// Weights of every parametrization and granularity, and their chain rule against finite differences.
import { describe, expect, test } from "vitest";
import {
  GRANULARITIES,
  PARAMETRIZATIONS,
  type Slot,
  SoupParameters,
} from "../../src/learn/parameters.ts";
import { listLinears } from "../../src/model/config.ts";
import { tinyConfig } from "../support/models.ts";
import { expectClose, randomValues } from "../support/values.ts";

/** Adapter 0 everywhere, adapter 1 in attention only, adapter 2 in q_proj and lm_head: slots in model order. */
const slots: Slot[] = listLinears(tinyConfig()).flatMap((linear) => {
  const touched = [
    true,
    /^[qkvo]_/.test(linear.name),
    linear.name === "q_proj" || linear.name === "lm_head",
  ];
  return [0, 1, 2]
    .filter((adapter) => touched[adapter])
    .map((adapter) => ({ linear, adapter, scaling: [2, 0.5, 3][adapter]! }));
});

describe.each(PARAMETRIZATIONS)("%s", (parametrization) => {
  test.each(GRANULARITIES)("per %s: uniform start, chain rule", (granularity) => {
    const parameters = new SoupParameters(slots, parametrization, granularity);
    const { values } = parameters;
    if (parametrization !== "softmax") {
      expect(parameters.weights()).toEqual(new Float64Array(slots.length).fill(1));
    }

    values.set(randomValues(values.length, 7, 2));
    const direction = Float64Array.from(randomValues(slots.length, 8)); // dLoss / dm
    const loss = (): number => {
      const weights = parameters.weights();
      return slots.reduce((sum, { scaling }, i) => sum + direction[i]! * scaling * weights[i]!, 0);
    };
    const gradient = parameters.gradient(direction);
    // Central differences in f64: h² / 6 · f''' and 2^-53 / h are both about 1e-10 for h = 1e-5, times a few terms of size 10.
    const h = 1e-5;
    const expected = Float64Array.from(values, (value, i) => {
      values[i] = value + h;
      const above = loss();
      values[i] = value - h;
      const below = loss();
      values[i] = value;
      return (above - below) / (2 * h);
    });
    expectClose(gradient, expected, 1e-7);
  });
});

test("a group's weights sum to 1, or to the number of its adapters", () => {
  for (const [parametrization, total] of [
    ["softmax", () => 1],
    ["softmax-k", (count: number) => count],
  ] as const) {
    const parameters = new SoupParameters(slots, parametrization, "linear");
    parameters.values.set(randomValues(parameters.values.length, 3, 5));
    const weights = parameters.weights();
    const byPath = new Map<string, number[]>();
    slots.forEach(({ linear: { path } }, i) => {
      byPath.set(path, [...(byPath.get(path) ?? []), weights[i]!]);
    });
    for (const [path, own] of byPath) {
      const sum = own.reduce((a, b) => a + b, 0);
      expect(sum, path).toBeCloseTo(total(own.length), 12);
    }
  }
});

test("granularity decides who shares a weight", () => {
  const distinct = Object.fromEntries(
    GRANULARITIES.map((granularity) => {
      const { values } = new SoupParameters(slots, "free", granularity);
      return [granularity, values.length];
    }),
  );
  // 2 layers × (7 + 4 + 1) and lm_head with 2; layers, and lm_head as one of its own; 7 + 4 + 1 kinds and lm_head; 3 adapters
  expect(distinct).toEqual({ linear: 26, layer: 8, "module-type": 14, global: 3 });
});
