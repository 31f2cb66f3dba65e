// When two answers count as the same.
import { expect, test } from "vitest";
import { isMatch, type NormalizerName } from "../../src/compare/normalizers.ts";

test.each<[NormalizerName, string, string, boolean, boolean]>([
  ["exact", " Yes.", " Yes.", true, true],
  ["exact", " Yes.", " Yes.", false, false],
  ["exact", "Yes.", " Yes.", true, false],
  ["trim", " Yes.\n", "Yes.", false, true],
  ["trim", "yes.", "Yes.", true, false],
  ["first-line", "\n 4 \nBecause", "4", false, true],
  ["first-line", "", "4", false, false],
  ["squad", "The  Red, fox!", "a red fox", false, true],
  ["squad", "red foxes", "red fox", true, false],
  ["squad", "Äpfel?", "äpfel", false, true],
  ["number", "so 1,234.50 is it", "#### 1234.5", false, true],
  ["number", "3 apples and -7", "-7", false, true],
  ["number", "about .5", "0.50", false, true],
  ["number", "none", "none", true, false],
])("%s: %j and %j (ended %s): %s", (name, text, reference, ended, expected) => {
  expect(isMatch(name, text, reference, ended)).toBe(expected);
});
