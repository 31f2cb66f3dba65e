import { expect, test } from "vitest";
import { TureenError, throwIfAborted } from "../src/errors.ts";

test("a message says what failed, expected and found, where, and what to do", () => {
  const cause = new Error("below");
  const error = new TureenError(
    "FORMAT_INVALID",
    "it broke",
    { expected: "4", found: "5", where: "file", hint: "Mend it." },
    { cause },
  );
  expect(error.message).toBe("it broke: expected 4, found 5 (file). Mend it.");
  expect(error).toMatchObject({ name: "TureenError", code: "FORMAT_INVALID", cause });
  expect(new TureenError("FORMAT_INVALID", "it broke").message).toBe("it broke");
});

test("text from files can neither control a terminal, break the line, nor flood the message", () => {
  const where = `\u001b[31mred\r\n\u202eright to left\u2028${"x".repeat(1_000_000)}`;
  const error = new TureenError("FORMAT_INVALID", `bad\u0007 ${where}`, { where });
  expect(error.message.startsWith("bad\\u{7} \\u{1b}[31mred\\u{d}\\u{a}\\u{202e}right")).toBe(true);
  expect(error.message).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}]/u);
  expect(error.message.length).toBeLessThan(1100);
  expect(error.details.where).not.toMatch(/\p{Cc}/u);
});

test("an aborted signal throws, with its reason", () => {
  expect(() => throwIfAborted(undefined)).not.toThrow();
  expect(() => throwIfAborted(new AbortController().signal)).not.toThrow();
  const reason = new Error("enough");
  expect(() => throwIfAborted(AbortSignal.abort(reason))).toThrow(
    expect.objectContaining({ code: "ABORTED", cause: reason }),
  );
});
