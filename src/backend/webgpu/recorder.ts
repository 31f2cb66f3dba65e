// Records operations: checks operands, resolves handles, captures arguments.
import type { BankEntry, LinearOutput, Matrix, Rope, Span, Tensor, Vector } from "../backend.ts";
import {
  requireBeside,
  requireHeads,
  requireId,
  requireNorms,
  requirePositions,
  requireRoom,
  requireRows,
  requireWindow,
} from "../wasm/checks.ts";
import type { Core } from "./core.ts";
import type { GpuMatrix } from "./handles.ts";
import type { ActiveSegment, GpuSpan, LinearProduct } from "./operations.ts";

export class Recorder {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  embed(out: Tensor, table: Matrix, ids: ArrayLike<number>, scale: number): void {
    this.#core.check();
    const to = this.#core.handles.get(out);
    const from = this.#core.handles.get(table);
    requireRoom(out, ids.length, table.cols);
    const list = Uint32Array.from(ids, (id) => {
      requireId(id, table.rows);
      return id;
    });
    if (list.length === 0) return;
    this.#core.push({ kind: "embed", out: to, table: from, n: list.length, ids: list, scale });
  }

  rmsNorm(
    out: Tensor,
    x: Tensor,
    weight: Vector,
    eps: number,
    n: number,
    accumulate: boolean,
  ): void {
    this.#core.check();
    requireRoom(out, n, x.cols);
    requireRoom(x, n, x.cols);
    requireNorms(x.cols, weight.length);
    if (accumulate && out === x) throw new Error("out is x");
    const handles = this.#core.handles;
    const op = { out: handles.get(out), x: handles.get(x), weight: handles.get(weight), eps, n };
    if (n > 0) this.#core.push({ kind: "rmsNorm", ...op, accumulate });
  }

  linear(x: Tensor, n: number, outputs: readonly LinearOutput[], row = 0): void {
    this.#core.check();
    if (row < 0 || row + n > x.rows) throw new Error(`rows ${row}..${row + n - 1} of ${x.rows}`);
    const input = this.#core.handles.get(x);
    const products = outputs.map((output) => this.#product(input.cols, n, output));
    if (n === 0) return;
    // weights that are held alike at a time
    for (const storage of new Set(products.map(({ weight }) => weight.storage))) {
      const same = products.filter(({ weight }) => weight.storage === storage);
      this.#core.push({ kind: "linear", x: input, row, n, outputs: same });
    }
  }

  rope(x: Tensor, rope: Rope, spans: readonly Span[]): void {
    this.#core.check();
    const table = this.#core.handles.get(rope);
    const to = this.#core.handles.get(x);
    requireRoom(x, requireRows(spans), x.cols);
    if (x.cols % table.headDim !== 0)
      throw new Error(`${x.cols} columns, heads of ${table.headDim}`);
    for (const { position, n } of spans) {
      if (position < 0 || position + n > table.length) {
        throw new Error(`positions ${position}..${position + n - 1} of ${table.length}`);
      }
    }
    const own = this.#spans(spans);
    this.#core.push({ kind: "rope", x: to, rope: table, spans: own, backward: false });
  }

  writeKv(layer: number, k: Tensor, v: Tensor, spans: readonly Span[]): void {
    this.#core.check();
    const [keys, values] = [this.#core.handles.get(k), this.#core.handles.get(v)];
    const rows = requireRows(spans);
    const own = this.#spans(spans);
    for (const { cache, position, n } of own) {
      requirePositions(cache, layer, position, n);
      for (const tensor of [k, v]) requireRoom(tensor, rows, cache.kvHeads * cache.headDim);
    }
    this.#core.push({ kind: "writeKv", layer, k: keys, v: values, spans: own });
  }

  attention(
    out: Tensor,
    q: Tensor,
    layer: number,
    spans: readonly Span[],
    wanted: number | undefined,
  ): void {
    this.#core.check();
    const [to, query] = [this.#core.handles.get(out), this.#core.handles.get(q)];
    const rows = requireRows(spans);
    const own = this.#spans(spans);
    requireRoom(q, rows, q.cols);
    requireRoom(out, rows, q.cols);
    for (const { cache, position, n } of own) {
      if (cache.headDim !== own[0]!.cache.headDim) throw new Error("caches of different heads");
      requireHeads(q.cols, cache);
      requirePositions(cache, layer, position, n);
    }
    const window = requireWindow(wanted);
    this.#core.push({ kind: "attention", out: to, q: query, layer, spans: own, window });
  }

  siluMul(out: Tensor, gate: Tensor, up: Tensor, n: number, gelu: boolean): void {
    this.#core.check();
    for (const tensor of [out, gate, up]) requireRoom(tensor, n, gate.cols);
    const handles = this.#core.handles;
    const op = { out: handles.get(out), gate: handles.get(gate), up: handles.get(up), n };
    if (n > 0) this.#core.push({ kind: "siluMul", ...op, gelu });
  }

  #product(cols: number, n: number, output: LinearOutput): LinearProduct {
    const weight = this.#core.handles.get(output.weight);
    const out = this.#core.handles.get(output.out);
    if (cols !== weight.cols || out.cols !== weight.rows || n > out.rows) {
      throw new Error(
        `product of [${n}, ${cols}] with [${weight.rows}, ${weight.cols}] into [${out.rows}, ${out.cols}]`,
      );
    }
    const bias = output.bias && this.#core.handles.get(output.bias);
    const bank = output.bank.flatMap((entry) => this.#active(entry, weight, n));
    return { out, weight, bias, bank, accumulate: output.accumulate ?? false };
  }

  /** The entry with its numbers captured, unless all are 0. */
  #active({ segment: handle, m }: BankEntry, weight: GpuMatrix, n: number): ActiveSegment[] {
    const segment = this.#core.handles.get(handle);
    requireBeside(segment, weight);
    if (typeof m !== "number" && m.length < n)
      throw new Error(`${m.length} numbers m for ${n} rows`);
    const numbers =
      typeof m === "number"
        ? new Float32Array(n).fill(m)
        : Float32Array.from({ length: n }, (_, i) => m[i]!);
    return numbers.every((number) => number === 0) ? [] : [{ segment, m: numbers }];
  }

  #spans(spans: readonly Span[]): GpuSpan[] {
    let row = 0;
    return spans.map(({ cache, position, n }) => {
      const span = { cache: this.#core.handles.get(cache), position, n, row };
      row += n;
      return span;
    });
  }
}
