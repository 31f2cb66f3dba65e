import { describe, expect, it } from "vitest";
import { Random, splitmix64 } from "../../src/math/random.ts";

const take = <T>(n: number, next: () => T): T[] => Array.from({ length: n }, next);

describe("Random", () => {
  it("is xoshiro128** 1.1: outputs of the authors' C code from state 1, 2, 3, 4", () => {
    const random = Random.fromState([1, 2, 3, 4]);
    expect(take(10, () => random.nextUint32())).toEqual([
      11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597,
      4258142804,
    ]);
  });

  it("is seeded by splitmix64: outputs of the authors' C code from 1234567", () => {
    expect(take(5, splitmix64(1234567n))).toEqual([
      6457827717110365317n,
      3203168211198807973n,
      9817491932198370423n,
      4593380528125082431n,
      16408922859458223821n,
    ]);
  });

  it("gives the outputs of both C programs joined as specified, from seed 42", () => {
    const random = new Random(42);
    expect(take(6, () => random.nextUint32())).toEqual([
      1776835114, 4165204688, 17111135, 2317295270, 2792088233, 2554630222,
    ]);
  });

  it("makes a float of 27 and 26 bits of two outputs", () => {
    const floats = new Random(42);
    const high = Math.floor(1776835114 / 32);
    const low = Math.floor(4165204688 / 64);
    expect(floats.nextFloat()).toBe((high * 2 ** 26 + low) / 2 ** 53);
  });

  it("continues from its state", () => {
    const random = new Random(2 ** 53 - 1);
    random.nextUint32();
    const copy = Random.fromState(random.state);
    expect(take(5, () => copy.nextFloat())).toEqual(take(5, () => random.nextFloat()));
  });

  it.each([-1, 1.5, 2 ** 53, Number.NaN])("refuses seed %s", (seed) => {
    expect(() => new Random(seed)).toThrow(/seed is invalid: expected a whole number/);
  });
});
