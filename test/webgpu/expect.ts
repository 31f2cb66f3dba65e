// The little of vitest's `expect` that cases use, for hosts without vitest.
function fail(message: string): never {
  throw new Error(message);
}

interface Expectation {
  toBe(expected: unknown): void;
}

export const expect: ((actual: unknown) => Expectation) & { fail: typeof fail } = Object.assign(
  (actual: unknown): Expectation => ({
    toBe: (expected) => {
      if (!Object.is(actual, expected)) fail(`${actual} is not ${expected}`);
    },
  }),
  { fail },
);
