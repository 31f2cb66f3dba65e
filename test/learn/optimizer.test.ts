// AdamW against its published formula and PyTorch's numbers, and the learning rate's course.
import { describe, expect, test } from "vitest";
import { AdamW, clipGradient, scheduleFactor } from "../../src/learn/optimizer.ts";

describe("AdamW", () => {
  test("first step is the learning rate against the gradient's sign", () => {
    const values = Float64Array.of(1, 1, 1);
    new AdamW(3, 0).step(values, Float64Array.of(5, -0.01, 0), 0.1);
    // g / (|g| + 1e-8)
    expect(values[0]).toBeCloseTo(1 - 0.1 / (1 + 1e-8 / 5), 14);
    expect(values[1]).toBeCloseTo(1 + 0.1 / (1 + 1e-8 / 0.01), 14);
    expect(values[2]).toBe(1);
  });

  test("follows the formula written out, with weight decay", () => {
    const gradients = [0.3, -1.2, 0.7, 0.05, 2];
    const values = Float64Array.of(0.5);
    const optimizer = new AdamW(1, 0.1);
    for (const g of gradients) optimizer.step(values, Float64Array.of(g), 0.02);
    let x = 0.5;
    gradients.forEach((_, t) => {
      const upTo = gradients.slice(0, t + 1);
      const average = (beta: number, f: (g: number) => number): number =>
        upTo.reduce((sum, g, i) => sum + (1 - beta) * beta ** (t - i) * f(g), 0) /
        (1 - beta ** (t + 1));
      x -= 0.02 * 0.1 * x;
      x -= (0.02 * average(0.9, (g) => g)) / (Math.sqrt(average(0.999, (g) => g * g)) + 1e-8);
    });
    expect(values[0]).toBeCloseTo(x, 12);
  });

  test("continues from its state through JSON, bit for bit", () => {
    const run = (interrupt: boolean): Float64Array => {
      const values = Float64Array.of(0.1, -0.7);
      let optimizer = new AdamW(2, 0.01);
      for (let t = 0; t < 9; t++) {
        optimizer.step(values, Float64Array.of(1 / (t + 3), t - 4.3), 0.03);
        if (!interrupt) continue;
        const state = JSON.parse(JSON.stringify(optimizer.state));
        optimizer = new AdamW(2, 0.01);
        optimizer.restore(state);
      }
      return values;
    };
    expect(run(true)).toEqual(run(false));
  });
});

test("clipping keeps the direction", () => {
  const gradient = Float64Array.of(3, 4);
  expect(clipGradient(gradient, 10)).toBe(5);
  expect([...gradient]).toEqual([3, 4]);
  clipGradient(gradient, 1);
  expect(gradient[0]).toBeCloseTo(0.6, 14);
  expect(gradient[1]).toBeCloseTo(0.8, 14);
});

describe("schedule", () => {
  test("rises over warm-up, then falls along a line", () => {
    const factors = Array.from({ length: 10 }, (_, step) =>
      scheduleFactor("linear", step, 10, 0.2),
    );
    expect(factors[0]).toBe(0.5);
    expect(factors[1]).toBeCloseTo(0.9, 14);
    expect(factors[9]).toBeCloseTo(0.1, 14);
  });

  test("cosine agrees with the host's to a few ulp", () => {
    for (let step = 0; step <= 1000; step++) {
      const expected = (1 + Math.cos((Math.PI * step) / 1000)) / 2;
      expect(Math.abs(scheduleFactor("cosine", step, 1000, 0) - expected)).toBeLessThan(4e-16);
    }
  });

  test("constant stays", () => {
    expect(scheduleFactor("constant", 0, 10, 0)).toBe(1);
    expect(scheduleFactor("constant", 9, 10, 0.1)).toBe(1);
  });
});
