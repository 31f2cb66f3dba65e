import fc from "fast-check";
import { expect, test } from "vitest";
import { findJsonKeyFault } from "../../src/formats/json-keys.ts";

test("what JSON.stringify writes has no fault", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(0, 2), (value, indent) => {
      expect(findJsonKeyFault(JSON.stringify(value, null, indent), 1000)).toBeUndefined();
    }),
  );
});

test("a repeated key is found wherever its object lies, however it is spelt", () => {
  const spell = (key: string, escaped: boolean): string =>
    escaped
      ? `"${Array.from({ length: key.length }, (_, i) => `\\u${key.charCodeAt(i).toString(16).padStart(4, "0")}`).join("")}"`
      : JSON.stringify(key);
  fc.assert(
    fc.property(fc.string(), fc.jsonValue(), fc.boolean(), (key, value, escaped) => {
      const inner = `{${JSON.stringify(key)} : ${JSON.stringify(value)},${spell(key, escaped)}\n:1}`;
      for (const text of [inner, `[0,${inner}]`, `{"${key.length}x":${inner}}`]) {
        expect(findJsonKeyFault(text, 1000)).toEqual({
          kind: "duplicate",
          key: JSON.stringify(key),
        });
      }
    }),
  );
});

test("equal strings that are not keys of one object are no fault", () => {
  expect(findJsonKeyFault('{"a":"a","b":["a","a"],"c":{"a":1},"d":{"a":"a"}}', 4)).toBeUndefined();
  expect(findJsonKeyFault('{"a":"\\"a\\":1"}', 4)).toBeUndefined();
});

test("depth is limited before anything is built", () => {
  expect(findJsonKeyFault("[[[]]]", 3)).toBeUndefined();
  expect(findJsonKeyFault("[[[[", 3)).toEqual({ kind: "depth", offset: 3 });
  expect(findJsonKeyFault(`{"a":${"[".repeat(1e6)}`, 3)).toEqual({ kind: "depth", offset: 7 });
});

test("any text is scanned without failing", () => {
  const text = fc.string({ unit: fc.constantFrom(...'{}[]",:\\ua1 \n'), maxLength: 40 });
  fc.assert(fc.property(text, (broken) => void findJsonKeyFault(broken, 5)));
});
