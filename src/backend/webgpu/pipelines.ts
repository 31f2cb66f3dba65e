// Compiled shaders, by key. All share one layout: one bind group with everything, its parameters at a dynamic offset.
import { TureenError } from "../../errors.ts";
import type { KvCacheType } from "../backend.ts";
import {
  composeShader,
  parseKey,
  type ShaderOptions,
  specialize,
  specializeWeights,
} from "./compose.ts";
import { bankType, type Storage } from "./layout.ts";

/** Compiled while weights load, as far as they fit them; those for learning are compiled when it begins. */
const BY_WEIGHTS = ["embed", "matvec", "matmul"];
const BY_BANK = ["rope", "silu-mul"];
const PLAIN = ["rmsnorm", "quantize", "choose", "choose-merge"];
const COMPUTE = 0x4; // GPUShaderStage.COMPUTE

export interface PipelineOptions extends ShaderOptions {
  /** Of a workgroup. */
  readonly threads: number;
}

export class Pipelines {
  readonly layout: GPUBindGroupLayout;
  readonly #device: GPUDevice;
  readonly #options: PipelineOptions;
  readonly #pipelineLayout: GPUPipelineLayout;
  /** The f32 variants also serve passes that have no bank. */
  readonly #banks = new Set<"f32" | "q8">(["f32"]);
  readonly #ready = new Map<string, GPUComputePipeline>();
  readonly #pending = new Map<string, Promise<void>>();

  constructor(device: GPUDevice, options: PipelineOptions) {
    this.#device = device;
    this.#options = options;
    const storage = (
      binding: number,
      type: GPUBufferBindingType,
      hasDynamicOffset = false,
    ): GPUBindGroupLayoutEntry => ({
      binding,
      visibility: COMPUTE,
      buffer: { type, hasDynamicOffset },
    });
    this.layout = device.createBindGroupLayout({
      label: "tureen",
      entries: [
        storage(0, "read-only-storage"), // weights
        storage(1, "read-only-storage"), // bank
        storage(2, "storage"), // memory
        storage(3, "storage"), // kv
        storage(4, "read-only-storage", true), // parameters
        storage(5, "read-only-storage"), // lists
      ],
    });
    this.#pipelineLayout = device.createPipelineLayout({
      label: "tureen",
      bindGroupLayouts: [this.layout],
    });
  }

  /** Compiled shaders so far. */
  get count(): number {
    return this.#ready.size;
  }

  /** Compiles what every pass of a model with such weights needs. */
  async warmUp(storage: Storage): Promise<void> {
    this.#banks.add(bankType(storage));
    await Promise.all([
      ...BY_WEIGHTS.map((name) => this.#prepare(specializeWeights(name, storage))),
      ...[...this.#banks].flatMap((bank) =>
        BY_BANK.map((name) => this.#prepare(`${name}-${bank}`)),
      ),
      ...PLAIN.map((name) => this.#prepare(name)),
    ]);
  }

  /** Asks for what passes over such caches need; the device compiles it meanwhile. */
  warmUpCache(headDim: number, type: KvCacheType): void {
    const { attention, combine, rope } = cacheShaders(headDim, type, this.#options.threads);
    this.get(attention);
    for (const bank of this.#banks) {
      this.get(combine(bank));
      this.get(rope(bank));
    }
  }

  get(key: string): GPUComputePipeline {
    const ready = this.#ready.get(key);
    if (ready !== undefined) return ready;
    const { code } = composeShader(parseKey(key).name, this.#options);
    const module = this.#device.createShaderModule({ label: key, code });
    const pipeline = this.#device.createComputePipeline(this.#descriptor(key, module));
    this.#ready.set(key, pipeline);
    return pipeline;
  }

  #prepare(key: string): Promise<void> {
    if (this.#ready.has(key)) return Promise.resolve();
    const pending = this.#pending.get(key) ?? this.#compile(key);
    this.#pending.set(key, pending);
    return pending;
  }

  /** @throws TureenError `BACKEND_FAILED`, naming file and line */
  async #compile(key: string): Promise<void> {
    const { code, locate } = composeShader(parseKey(key).name, this.#options);
    const module = this.#device.createShaderModule({ label: key, code });
    const { messages } = await module.getCompilationInfo();
    const error = messages.find(({ type }) => type === "error");
    if (error !== undefined) {
      throw new TureenError("BACKEND_FAILED", `shader ${key} does not compile`, {
        found: error.message,
        where: locate(error.lineNum),
        hint: "Use the wasm backend; please report this.",
      });
    }
    try {
      const pipeline = await this.#device.createComputePipelineAsync(this.#descriptor(key, module));
      this.#ready.set(key, pipeline);
    } catch (cause) {
      const found = String(cause);
      const hint = "Use the wasm backend; please report this.";
      throw new TureenError(
        "BACKEND_FAILED",
        `shader ${key} was refused by the GPU`,
        { found, hint },
        { cause },
      );
    }
  }

  #descriptor(key: string, module: GPUShaderModule): GPUComputePipelineDescriptor {
    const constants = { THREADS: this.#options.threads, ...parseKey(key).constants };
    const compute = { module, entryPoint: "main", constants };
    return { label: key, layout: this.#pipelineLayout, compute };
  }
}

interface CacheShaders {
  readonly attention: string;
  combine(bank: "f32" | "q8"): string;
  rope(bank: "f32" | "q8"): string;
}

/** Keys of attention over heads of this width, and of what writes such a cache. */
export function cacheShaders(headDim: number, type: KvCacheType, threads: number): CacheShaders {
  const columns = { COLUMNS: Math.ceil(headDim / threads) };
  const halves = { HALVES: type === "f16" ? 1 : 0 };
  return {
    attention: specialize("attention", { ...columns, ...halves }),
    combine: (bank) => specialize(`attention-combine-${bank}`, columns),
    rope: (bank) => specialize(`rope-${bank}`, halves),
  };
}
