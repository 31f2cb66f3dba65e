// Data that lies beside the repository and is not part of it: `../shared/data`. Where it is absent, tests that need it show
// as skipped with the reason; in CI they fail.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, test } from "vitest";

const root = fileURLToPath(new URL("../../../shared/data", import.meta.url));

export const hasSharedData: boolean = existsSync(root);

/** Absolute path of a file or folder of the shared data. */
export function sharedData(...path: string[]): string {
  return join(root, ...path);
}

/** `describe` for tests that read the shared data. Nothing of `body` runs where it is absent. */
export function describeWithSharedData(name: string, body: () => void): void {
  if (hasSharedData) {
    describe(name, body);
  } else if (process.env.CI) {
    describe(name, () => {
      test("finds ../shared/data", () => {
        throw new Error("../shared/data is absent, and CI must have it");
      });
    });
  } else {
    describe(name, () => {
      test.skip("needs ../shared/data, which is not here", () => undefined);
    });
  }
}
