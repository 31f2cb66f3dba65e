// A backend that may die, with another to go on with. It keeps what handles were made from: after a failure `recover` makes them
// anew elsewhere. What tensors and caches held is lost, so their owner must compute it again.
import type {
  Backend,
  Handle,
  KvCache,
  KvCacheOptions,
  LinearOutput,
  Matrix,
  MatrixSource,
  Rope,
  RopeOptions,
  Segment,
  SegmentData,
  Span,
  Tensor,
  Vector,
  WeightType,
} from "./backend.ts";

/** What stands for a handle here, and how to make it again. */
interface Kept {
  inner: Handle;
  make: (backend: Backend) => Handle | Promise<Handle>;
}

export class FallbackBackend implements Backend {
  #inner: Backend;
  readonly #next: () => Promise<Backend>;
  readonly #kept = new Map<Handle, Kept>();
  #recovery: Promise<boolean> | undefined;

  /** @param next starts the backend to go on with */
  constructor(first: Backend, next: () => Promise<Backend>) {
    this.#inner = first;
    this.#next = next;
  }

  get name(): Backend["name"] {
    return this.#inner.name;
  }

  get build(): string {
    return this.#inner.build;
  }

  get threads(): number {
    return this.#inner.threads;
  }

  get hasEqualRows(): boolean {
    return this.#inner.hasEqualRows ?? false;
  }

  /**
   * Makes all handles on the next backend. Only once: that one is not replaced.
   * @returns whether there is something to go on with
   */
  recover(): Promise<boolean> {
    this.#recovery ??= this.#recover();
    return this.#recovery;
  }

  async #recover(): Promise<boolean> {
    const old = this.#inner;
    const next = await this.#next();
    try {
      for (const kept of this.#kept.values()) kept.inner = await kept.make(next);
    } catch (error) {
      await next.dispose();
      throw error;
    }
    this.#inner = next;
    await old.dispose();
    return true;
  }

  async loadMatrix(source: MatrixSource, type: WeightType): Promise<Matrix> {
    const make = (backend: Backend): Promise<Matrix> => backend.loadMatrix(source, type);
    return this.#keep(await make(this.#inner), make);
  }

  async replaceMatrix(matrix: Matrix, source: MatrixSource): Promise<void> {
    const kept = this.#find(matrix);
    await this.#inner.replaceMatrix(kept.inner as Matrix, source);
    kept.make = (backend) => backend.loadMatrix(source, matrix.type);
  }

  loadVector(name: string, values: Float32Array): Vector {
    return this.#make((backend) => backend.loadVector(name, values));
  }

  loadSegment(data: SegmentData, base: WeightType): Segment {
    return this.#make((backend) => backend.loadSegment(data, base));
  }

  createTensor(rows: number, cols: number): Tensor {
    return this.#make((backend) => backend.createTensor(rows, cols));
  }

  createKvCache(options: KvCacheOptions): KvCache {
    return this.#make((backend) => backend.createKvCache(options));
  }

  createRope(options: RopeOptions): Rope {
    return this.#make((backend) => backend.createRope(options));
  }

  free(handle: Handle): void {
    this.#inner.free(this.#own(handle));
    this.#kept.delete(handle);
  }

  embed(out: Tensor, table: Matrix, ids: ArrayLike<number>, scale?: number): void {
    this.#inner.embed(this.#own(out), this.#own(table), ids, scale);
  }

  rmsNorm(
    out: Tensor,
    x: Tensor,
    weight: Vector,
    eps: number,
    n: number,
    accumulate?: boolean,
  ): void {
    this.#inner.rmsNorm(this.#own(out), this.#own(x), this.#own(weight), eps, n, accumulate);
  }

  linear(x: Tensor, n: number, outputs: readonly LinearOutput[], row?: number): void {
    const own = outputs.map((output) => ({
      ...output,
      out: this.#own(output.out),
      weight: this.#own(output.weight),
      bias: output.bias && this.#own(output.bias),
      bank: output.bank.map(({ segment, m }) => ({ segment: this.#own(segment), m })),
    }));
    this.#inner.linear(this.#own(x), n, own, row);
  }

  rope(x: Tensor, rope: Rope, spans: readonly Span[]): void {
    this.#inner.rope(this.#own(x), this.#own(rope), this.#spans(spans));
  }

  writeKv(layer: number, k: Tensor, v: Tensor, spans: readonly Span[]): void {
    this.#inner.writeKv(layer, this.#own(k), this.#own(v), this.#spans(spans));
  }

  attention(out: Tensor, q: Tensor, layer: number, spans: readonly Span[], window?: number): void {
    this.#inner.attention(this.#own(out), this.#own(q), layer, this.#spans(spans), window);
  }

  siluMul(out: Tensor, gate: Tensor, up: Tensor, n: number): void {
    this.#inner.siluMul(this.#own(out), this.#own(gate), this.#own(up), n);
  }

  geluMul(out: Tensor, gate: Tensor, up: Tensor, n: number): void {
    this.#inner.geluMul(this.#own(out), this.#own(gate), this.#own(up), n);
  }

  read(x: Tensor, row: number, nRows: number, into?: Float32Array): Promise<Float32Array> {
    return this.#inner.read(this.#own(x), row, nRows, into);
  }

  dispose(): Promise<void> {
    this.#kept.clear();
    return this.#inner.dispose();
  }

  #make<H extends Handle>(make: (backend: Backend) => H): H {
    return this.#keep(make(this.#inner), make);
  }

  #keep<H extends Handle>(inner: H, make: (backend: Backend) => H | Promise<H>): H {
    const handle = { ...inner };
    this.#kept.set(handle, { inner, make });
    return handle;
  }

  #find(handle: Handle): Kept {
    const kept = this.#kept.get(handle);
    if (kept === undefined) {
      throw new Error(`this ${handle.kind} was freed, or belongs to another backend`);
    }
    return kept;
  }

  #own<H extends Handle>(handle: H): H {
    return this.#find(handle).inner as H;
  }

  #spans(spans: readonly Span[]): Span[] {
    return spans.map(({ cache, position, n }) => ({ cache: this.#own(cache), position, n }));
  }
}
