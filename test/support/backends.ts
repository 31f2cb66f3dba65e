// Every backend that the tests hold to the contract. Adding one is one line.
import type { Backend } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/create.ts";

export interface BackendUnderTest {
  readonly name: string;
  readonly create: () => Promise<Backend>;
  /** Why this host cannot run it; its tests then show as skipped. */
  readonly unavailable?: string | undefined;
}

export const backends: readonly BackendUnderTest[] = [
  { name: "reference", create: async () => createReferenceBackend() },
];
