// `Sampling` on the GPU: choose.wgsl and choose-merge.wgsl, and the read-back of a few bytes.
import type { Matrix, Tensor } from "../backend.ts";
import type { Choice, Chosen, Sampling } from "../sampling.ts";
import { requireRoom } from "../wasm/checks.ts";
import type { Core } from "./core.ts";

/** Ids per row that are worth choosing there. */
const MAX_CHOSEN = 64;
/** Logits that one thread of choose.wgsl looks at. */
const EACH = 16;

export class GpuSampling implements Sampling {
  readonly maxK: number = MAX_CHOSEN;
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  createChoice(rows: number, k: number): Choice {
    const core = this.#core;
    core.check();
    if (!(Number.isInteger(k) && k >= 1 && k <= MAX_CHOSEN)) throw new Error(`${k} ids per row`);
    const at = core.memory.allocate((2 * k + 1) * rows * 4, () => core.flush());
    return core.handles.add({ kind: "choice" as const, rows, k, at: at / 4 });
  }

  freeChoice(choice: Choice): void {
    const { memory, handles } = this.#core;
    const { at } = handles.get(choice);
    handles.delete(choice);
    memory.free(at * 4);
  }

  choose(choice: Choice, logits: Tensor, n: number, row = 0): void {
    const core = this.#core;
    core.check();
    const { at: out, k, rows } = core.handles.get(choice);
    const { at, cols } = core.handles.get(logits);
    requireRoom(logits, row + n, cols);
    if (n > rows || k > cols) throw new Error(`${n} rows of ${cols} into [${rows}, ${k}]`);
    if (n === 0) return;
    const stretches = Math.ceil(cols / (EACH * core.threads));
    const partial = core.scratch.get("choice", n * stretches * (2 * k + 3));
    const params = [at + row * cols, cols, k, partial];
    core.push({ kind: "plain", shader: "choose", groups: [stretches, n, 1], params });
    const merge = [partial, stretches, k, out, rows];
    core.push({ kind: "plain", shader: "choose-merge", groups: [n, 1, 1], params: merge });
  }

  embedChosen(out: Tensor, table: Matrix, choice: Choice, n: number, scale = 1): void {
    const core = this.#core;
    core.check();
    const { handles } = core;
    const [to, from, ids] = [handles.get(out), handles.get(table), handles.get(choice)];
    requireRoom(out, n, table.cols);
    if (n > ids.rows) throw new Error(`${n} rows of ${ids.rows}`);
    if (n > 0) core.push({ kind: "embed", out: to, table: from, n, ids, scale });
  }

  async readChoice(choice: Choice, n: number): Promise<Chosen> {
    const core = this.#core;
    core.check();
    const { at, rows, k } = core.handles.get(choice);
    if (n > rows) throw new Error(`${n} rows of ${rows}`);
    const words = new Uint32Array((2 * k + 1) * rows);
    await core.readBytes({ at: at * 4, nBytes: words.byteLength }, (bytes) =>
      words.set(new Uint32Array(bytes)),
    );
    const floats = new Float32Array(words.buffer);
    return {
      ids: words.slice(0, n * k),
      logits: floats.slice(rows * k, (rows + n) * k),
      logSums: floats.slice(2 * rows * k, 2 * rows * k + n),
    };
  }
}
