// Compiled shaders, by key. All share one layout: one bind group with everything, its parameters at a dynamic offset.
import { TureenError } from "../../errors.ts";
import type { KvCacheType, WeightType } from "../backend.ts";
import {
  type ComposedShader,
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
const HINT = "Use the wasm backend; please report this.";
const COMPUTE = 0x4; // GPUShaderStage.COMPUTE

export interface PipelineOptions extends ShaderOptions {
  /** Of a workgroup. */
  readonly threads: number;
  /** Told of what turns out to be wrong when nobody waits for it. */
  readonly fail: (error: unknown) => void;
}

interface Module {
  readonly module: GPUShaderModule;
  readonly checked: Promise<void>;
}

export class Pipelines {
  readonly layout: GPUBindGroupLayout;
  readonly #device: GPUDevice;
  readonly #options: PipelineOptions;
  readonly #pipelineLayout: GPUPipelineLayout;
  /** The f32 variants also serve passes that have no bank. */
  readonly #banks = new Set<WeightType>(["f32"]);
  readonly #modules = new Map<string, Module>();
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

  /** Compiles it, if need be, while the caller goes on: a mistake shows later, by `fail`. */
  get(key: string): GPUComputePipeline {
    const ready = this.#ready.get(key);
    if (ready !== undefined) return ready;
    const { module, checked } = this.#module(key);
    checked.catch(this.#options.fail);
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
    const { module, checked } = this.#module(key);
    await checked;
    try {
      const pipeline = await this.#device.createComputePipelineAsync(this.#descriptor(key, module));
      this.#ready.set(key, pipeline);
    } catch (cause) {
      const details = { found: String(cause), hint: HINT };
      const what = `shader ${key} was refused by the GPU`;
      throw new TureenError("BACKEND_FAILED", what, details, { cause });
    }
  }

  /** The module of all keys of one shader. */
  #module(key: string): Module {
    const { name } = parseKey(key);
    const known = this.#modules.get(name);
    if (known !== undefined) return known;
    const composed = composeShader(name, this.#options);
    const module = this.#device.createShaderModule({ label: name, code: composed.code });
    const made = { module, checked: check(name, module, composed) };
    this.#modules.set(name, made);
    return made;
  }

  #descriptor(key: string, module: GPUShaderModule): GPUComputePipelineDescriptor {
    const constants = { THREADS: this.#options.threads, ...parseKey(key).constants };
    const compute = { module, entryPoint: "main", constants };
    return { label: key, layout: this.#pipelineLayout, compute };
  }
}

/** @throws TureenError `BACKEND_FAILED`, naming file and line */
async function check(
  name: string,
  module: GPUShaderModule,
  { locate }: ComposedShader,
): Promise<void> {
  const { messages } = await module.getCompilationInfo();
  const error = messages.find(({ type }) => type === "error");
  if (error === undefined) return;
  throw new TureenError("BACKEND_FAILED", `shader ${name} does not compile`, {
    found: error.message,
    where: locate(error.lineNum),
    hint: HINT,
  });
}

interface CacheShaders {
  readonly attention: string;
  combine(bank: WeightType): string;
  rope(bank: WeightType): string;
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
