// What `tureen inspect` says of one path, and the facts that models and adapters have in common.
import { TureenError } from "../errors.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import type { OpenOptions } from "../sources/hub-options.ts";
import { formatBytes } from "./output.ts";

/** How to open what is inspected: a model at a hub is not downloaded for its headers. */
export const HEADERS: OpenOptions = { hub: { keep: false } };

/** What was found. `problem` says why it cannot be used; the rest is still what its files say. */
export interface Report {
  readonly path: string;
  readonly kind: "model" | "adapter" | "soup";
  readonly supported: boolean;
  readonly problem?: { readonly code: string; readonly message: string } | undefined;
  /** In order of display: plain values, or tables as lists of records. */
  readonly facts: Readonly<Record<string, unknown>>;
}

/** Of an error that says "not supported"; everything else is a broken file, and thrown on. */
export function refusal(error: unknown): Pick<Report, "supported" | "problem"> {
  const known = error instanceof TureenError && /UNSUPPORTED|MISMATCH/.test(error.code);
  if (!known) throw error;
  return { supported: false, problem: { code: error.code, message: error.message } };
}

/** Sizes of a checkpoint's tensors. */
export function describeTensors(checkpoint: Checkpoint): Record<string, unknown> {
  let parameters = 0;
  let nBytes = 0;
  const dtypes = new Map<string, number>();
  for (const { shape, dtype, stored, nBytes: bytes } of checkpoint.tensors.values()) {
    parameters += shape.reduce((product, size) => product * size, 1);
    nBytes += stored?.nBytes ?? bytes;
    const type = stored?.type ?? dtype;
    dtypes.set(type, (dtypes.get(type) ?? 0) + 1);
  }
  return {
    tensors: checkpoint.tensors.size,
    types: [...dtypes].map(([dtype, count]) => `${dtype} × ${count}`).join(", "),
    parameters,
    size: formatBytes(nBytes),
  };
}
