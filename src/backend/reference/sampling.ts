// What `Sampling` means: a sort of each row.
import type { Matrix, Tensor } from "../backend.ts";
import type { Choice, Chosen, Sampling } from "../sampling.ts";
import { check } from "./checks.ts";

export interface SamplingHost {
  /** Rows of a tensor, as they are now. */
  rowsOf(x: Tensor, row: number, n: number): Float32Array;
  embed(out: Tensor, table: Matrix, ids: ArrayLike<number>, scale?: number): void;
}

class ReferenceChoice implements Choice {
  readonly kind = "choice";
  readonly rows: number;
  readonly k: number;
  chosen: Chosen = {
    ids: new Uint32Array(),
    logits: new Float32Array(),
    logSums: new Float32Array(),
  };

  constructor(rows: number, k: number) {
    this.rows = rows;
    this.k = k;
  }
}

export function createReferenceSampling(host: SamplingHost): Sampling {
  const own = (choice: Choice): ReferenceChoice => {
    check(choice instanceof ReferenceChoice, "this choice belongs to another backend");
    return choice;
  };
  return {
    maxK: 64,
    createChoice(rows, k) {
      check(Number.isInteger(k) && k >= 1 && k <= 64, `createChoice: ${k} ids per row`);
      return new ReferenceChoice(rows, k);
    },
    freeChoice: (choice) => void own(choice),
    choose(choice, logits, n, row = 0) {
      const to = own(choice);
      check(n <= to.rows && to.k <= logits.cols, `choose: ${n} rows of ${logits.cols}`);
      to.chosen = chooseRows(host.rowsOf(logits, row, n), logits.cols, to.k);
    },
    embedChosen(out, table, choice, n, scale) {
      const { chosen, k } = own(choice);
      const ids = Array.from({ length: n }, (_, i) => chosen.ids[i * k]!);
      host.embed(out, table, ids, scale);
    },
    async readChoice(choice, n) {
      const { chosen, k } = own(choice);
      const { ids, logits, logSums } = chosen;
      return {
        ids: ids.slice(0, n * k),
        logits: logits.slice(0, n * k),
        logSums: logSums.slice(0, n),
      };
    },
  };
}

function chooseRows(values: Float32Array, cols: number, k: number): Chosen {
  const n = values.length / cols;
  const chosen = {
    ids: new Uint32Array(n * k),
    logits: new Float32Array(n * k),
    logSums: new Float32Array(n),
  };
  for (let i = 0; i < n; i++) {
    const row = values.subarray(i * cols, (i + 1) * cols);
    const order = Array.from(row.keys()).sort((a, b) => row[b]! - row[a]! || a - b);
    for (let j = 0; j < k; j++) {
      chosen.ids[i * k + j] = order[j]!;
      chosen.logits[i * k + j] = row[order[j]!]!;
    }
    const max = row[order[0]!]!;
    chosen.logSums[i] = max + Math.log(row.reduce((sum, x) => sum + Math.exp(x - max), 0));
  }
  return chosen;
}
