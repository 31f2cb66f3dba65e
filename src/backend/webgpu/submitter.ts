// Sends dispatches to the GPU: writes their numbers, encodes one compute pass and what is to be read back, submits once.
import type { DispatchList } from "./dispatch-list.ts";
import { GPU_COPY_DST, GPU_MAP_READ, GPU_STORAGE, type Heap } from "./memory.ts";
import type { Pipelines } from "./pipelines.ts";

/** Least reach of the binding of parameters, in bytes. */
const WINDOW = 4096;

/** Bytes of the heap that come back. */
export interface ReadBack {
  readonly at: number;
  readonly nBytes: number;
}

export class Submitter {
  readonly #device: GPUDevice;
  readonly #pipelines: Pipelines;
  readonly #memory: Heap;
  /** Stands for weights and bank where a dispatch uses none. */
  readonly #none: GPUBuffer;
  /** The same for caches, which are written. */
  readonly #noCache: GPUBuffer;
  #params: GPUBuffer;
  #lists: GPUBuffer;
  readonly #groups = new Map<string, GPUBindGroup>();
  readonly #ids = new WeakMap<GPUBuffer, number>();
  #nextId = 0;
  readonly #staging: GPUBuffer[] = [];
  /** Submissions with work in them. */
  submissions = 0;

  constructor(device: GPUDevice, pipelines: Pipelines, memory: Heap) {
    this.#device = device;
    this.#pipelines = pipelines;
    this.#memory = memory;
    this.#none = device.createBuffer({ label: "none", size: 256, usage: GPU_STORAGE });
    this.#noCache = device.createBuffer({ label: "no cache", size: 256, usage: GPU_STORAGE });
    this.#params = this.#createNumbers("parameters", 64 * WINDOW);
    this.#lists = this.#createNumbers("lists", WINDOW);
  }

  /** Forgets bind groups, since a buffer among them is about to go. */
  forget(): void {
    this.#groups.clear();
  }

  /** Submits what `list` holds. @returns a mapped copy of what is read back; give it to `release` */
  submit(list: DispatchList, readBack?: ReadBack): Promise<GPUBuffer> | undefined {
    const { dispatches } = list;
    if (dispatches.length === 0 && readBack === undefined) return undefined;
    const encoder = this.#device.createCommandEncoder({ label: "tureen" });
    if (dispatches.length > 0) this.#encode(encoder, list);
    let staging: GPUBuffer | undefined;
    if (readBack !== undefined) {
      staging = this.#takeStaging(readBack.nBytes);
      const { at, nBytes } = readBack;
      encoder.copyBufferToBuffer(this.#memory.buffer, at, staging, 0, nBytes);
    }
    this.#device.queue.submit([encoder.finish()]);
    this.submissions++;
    if (staging === undefined) return undefined;
    const mapped = staging;
    return mapped.mapAsync(GPU_MAP_READ_MODE, 0, readBack!.nBytes).then(
      () => mapped,
      (error: unknown) => {
        mapped.destroy();
        throw error;
      },
    );
  }

  /** Takes a read-back buffer back. */
  release(staging: GPUBuffer): void {
    staging.unmap();
    this.#staging.push(staging);
    if (this.#staging.length > 4) this.#staging.shift()!.destroy();
  }

  destroy(): void {
    for (const buffer of [this.#none, this.#noCache, this.#params, this.#lists, ...this.#staging])
      buffer.destroy();
    this.#staging.length = 0;
    this.#groups.clear();
  }

  #encode(encoder: GPUCommandEncoder, { dispatches, params, lists, longest }: DispatchList): void {
    const window = WINDOW * Math.ceil(longest / WINDOW);
    if (params.byteLength + window > this.#params.size) {
      this.#params = this.#replace(this.#params, "parameters", 2 * (params.byteLength + window));
    }
    if (lists.byteLength > this.#lists.size) {
      this.#lists = this.#replace(this.#lists, "lists", 2 * lists.byteLength);
    }
    const { queue } = this.#device;
    queue.writeBuffer(this.#params, 0, params);
    if (lists.length > 0) queue.writeBuffer(this.#lists, 0, lists);
    const pass = encoder.beginComputePass({ label: "tureen" });
    let shader = "";
    for (const dispatch of dispatches) {
      if (dispatch.shader !== shader) {
        shader = dispatch.shader;
        pass.setPipeline(this.#pipelines.get(shader));
      }
      const { weights = this.#none, groups } = dispatch;
      const bank = dispatch.bank?.buffer ?? this.#none;
      const kv = dispatch.kv?.buffer ?? this.#noCache;
      pass.setBindGroup(0, this.#group(weights, bank, kv, window), [dispatch.params]);
      pass.dispatchWorkgroups(...groups);
    }
    pass.end();
  }

  #group(weights: GPUBuffer, bank: GPUBuffer, kv: GPUBuffer, window: number): GPUBindGroup {
    const key = [weights, bank, kv, this.#memory.buffer, this.#params, this.#lists]
      .map((buffer) => this.#id(buffer))
      .concat(window)
      .join();
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    const entry = (binding: number, buffer: GPUBuffer, size?: number): GPUBindGroupEntry => ({
      binding,
      resource: size === undefined ? { buffer } : { buffer, size },
    });
    const group = this.#device.createBindGroup({
      label: "tureen",
      layout: this.#pipelines.layout,
      entries: [
        entry(0, weights),
        entry(1, bank),
        entry(2, this.#memory.buffer),
        entry(3, kv),
        entry(4, this.#params, window),
        entry(5, this.#lists),
      ],
    });
    this.#groups.set(key, group);
    return group;
  }

  #id(buffer: GPUBuffer): number {
    const known = this.#ids.get(buffer);
    if (known !== undefined) return known;
    this.#ids.set(buffer, this.#nextId);
    return this.#nextId++;
  }

  #createNumbers(label: string, size: number): GPUBuffer {
    const usage = GPU_STORAGE | GPU_COPY_DST;
    return this.#device.createBuffer({ label, size: Math.ceil(size / 256) * 256, usage });
  }

  #replace(old: GPUBuffer, label: string, size: number): GPUBuffer {
    this.#groups.clear();
    old.destroy();
    return this.#createNumbers(label, size);
  }

  #takeStaging(nBytes: number): GPUBuffer {
    const index = this.#staging.findIndex(({ size }) => size >= nBytes);
    if (index !== -1) return this.#staging.splice(index, 1)[0]!;
    const size = 2 ** Math.ceil(Math.log2(Math.max(256, nBytes)));
    const usage = GPU_MAP_READ | GPU_COPY_DST;
    return this.#device.createBuffer({ label: "read back", size, usage });
  }
}

const GPU_MAP_READ_MODE = 0x1; // GPUMapMode.READ
