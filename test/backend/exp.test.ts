// e^x as the kernels compute it, against the host's f64.
import { expect, test } from "vitest";
import { Arena } from "../../src/backend/wasm/arena.ts";
import { compileBuild } from "../../src/backend/wasm/builds.ts";
import { instantiateKernels } from "../../src/backend/wasm/kernels.ts";

async function exp(values: Float32Array): Promise<Float32Array> {
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 65536 });
  const kernels = await instantiateKernels(await compileBuild("baseline"), memory);
  const arena = new Arena(memory, kernels.heap_base());
  const [from, to] = [arena.allocate(values.byteLength), arena.allocate(values.byteLength)];
  arena.f32.set(values, from / 4);
  kernels.exp_f32(to, from, values.length);
  return arena.f32.slice(to / 4, to / 4 + values.length);
}

test("relative error below 1.2e-7 from -87.3 to 88.3", async () => {
  const values = Float32Array.from({ length: 200_000 }, (_, i) => -87.29 + (i * 175.58) / 200_000);
  const worst = (await exp(values)).reduce((max, result, i) => {
    const exact = Math.exp(values[i]!);
    return Math.max(max, Math.abs(result - exact) / exact);
  }, 0);
  expect(worst).toBeLessThan(1.2e-7);
});

test("0 below, infinity above", async () => {
  const values = Float32Array.of(
    -87.7,
    -1e30,
    Number.NEGATIVE_INFINITY,
    0,
    88.38,
    1e30,
    Infinity,
    1,
  );
  const [a, b, c, one, d, e, f] = await exp(values);
  expect([a, b, c, one, d, e, f]).toEqual([0, 0, 0, 1, Infinity, Infinity, Infinity]);
});

test("subnormal in between, and NaN of NaN", async () => {
  const x = Math.fround(-87.6);
  const [small, nan] = await exp(Float32Array.of(x, Number.NaN, 0, 0));
  // 1.2e-7 of 9e-39, and half of the smallest number for rounding: less than 2^-149 together.
  expect(Math.abs(small! - Math.exp(x))).toBeLessThan(2 ** -149);
  expect(nan).toBeNaN();
});
