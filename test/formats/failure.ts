// How tests look at errors: code and message in one string, with temporary paths cut out.
import { TureenError } from "../../src/errors.ts";

/** `CODE: message` of the TureenError that an action ends in. Any other outcome fails the test. */
export async function failureOf(action: () => unknown, hide?: string): Promise<string> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof TureenError)) throw error;
    const text = `${error.code}: ${error.message}`;
    return hide === undefined ? text : text.replaceAll(hide, "…");
  }
  throw new Error("expected a TureenError, but nothing failed");
}
