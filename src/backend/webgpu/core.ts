// What the parts of the WebGPU backend share.
import type { HandleRegistry } from "./handles.ts";
import type { Heap } from "./memory.ts";
import type { Operation } from "./operations.ts";
import type { Scratch } from "./scratch.ts";
import type { ReadBack } from "./submitter.ts";

export interface Core {
  /** Of a workgroup. */
  readonly threads: number;
  readonly handles: HandleRegistry;
  /** Activations. */
  readonly memory: Heap;
  readonly scratch: Scratch;
  /** @throws TureenError `DISPOSED`, `BACKEND_FAILED` */
  check(): void;
  /** Records. */
  push(op: Operation): void;
  /** Submits what is recorded. */
  flush(): void;
  /** Submits what is recorded and reads a piece of the activations. */
  readBytes(readBack: ReadBack, take: (bytes: ArrayBuffer) => void): Promise<void>;
}
