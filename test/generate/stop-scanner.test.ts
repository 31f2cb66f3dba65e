import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StopScanner } from "../../src/generate/stop-scanner.ts";

/** The text up to the stop string that completes first; the longest of those that complete together. */
function naive(text: string, stops: readonly string[]): { text: string; stopped?: string } {
  for (let end = 0; end <= text.length; end++) {
    const ending = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    const stopped = ending.sort((a, b) => b.length - a.length)[0];
    if (stopped !== undefined) return { text: text.slice(0, end - stopped.length), stopped };
  }
  return { text };
}

function scan(
  pieces: readonly string[],
  stops: readonly string[],
): { text: string; stopped?: string } {
  const scanner = new StopScanner(stops);
  let text = "";
  for (const piece of pieces) {
    const scanned = scanner.push(piece);
    text += scanned.text;
    if (scanned.stopped !== undefined) return { text, stopped: scanned.stopped };
  }
  return { text: text + scanner.flush() };
}

// Two letters: stop strings are common, overlap and contain each other.
const word = (min: number, max: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom("a", "b"), minLength: min, maxLength: max });

describe("StopScanner", () => {
  it("equals a naive search over the whole text, for any pieces", () => {
    fc.assert(
      fc.property(
        fc.array(word(0, 5), { maxLength: 12 }),
        fc.array(word(1, 5), { maxLength: 3 }),
        (pieces, stops) => {
          expect(scan(pieces, stops)).toEqual(naive(pieces.join(""), stops));
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("never lets through what could still become a stop string, and holds back nothing else", () => {
    fc.assert(
      fc.property(
        fc.array(word(1, 3), { maxLength: 12 }),
        fc.array(word(1, 5), { minLength: 1, maxLength: 3 }),
        (pieces, stops) => {
          const scanner = new StopScanner(stops);
          let received = "";
          let passed = "";
          for (const piece of pieces) {
            const scanned = scanner.push(piece);
            received += piece;
            passed += scanned.text;
            if (scanned.stopped !== undefined) return;
            const held = received.slice(passed.length);
            expect(received.startsWith(passed)).toBe(true);
            expect(
              held === "" ||
                stops.some((stop) => stop.length > held.length && stop.startsWith(held)),
            ).toBe(true);
            for (let n = held.length + 1; n <= received.length; n++) {
              const longer = received.slice(-n);
              expect(stops.some((stop) => stop.length > n && stop.startsWith(longer))).toBe(false);
            }
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("finds a stop string across pieces, after a false start", () => {
    expect(scan(["a\n", "\n#", "\n\n", "##", "# b"], ["\n\n###"])).toEqual({
      text: "a\n\n#",
      stopped: "\n\n###",
    });
  });

  it("holds back a false start until it fails, and gives it at the end", () => {
    const scanner = new StopScanner(["</s>"]);
    expect(scanner.push("a</").text).toBe("a");
    expect(scanner.push("b").text).toBe("</b");
    expect(scanner.push("<").text).toBe("");
    expect(scanner.flush()).toBe("<");
  });

  it("does not mistake half of another character for a beginning", () => {
    // Both emojis begin with the same surrogate.
    expect(scan(["x😀", "y"], ["😁"])).toEqual({ text: "x😀y" });
    const scanner = new StopScanner(["😁"]);
    expect(scanner.push("x😀").text).toBe("x😀");
  });
});
