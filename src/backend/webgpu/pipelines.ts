// Compiled shaders, by key. All share one layout: one bind group with everything, its parameters at a dynamic offset.
import { TureenError } from "../../errors.ts";
import type { WeightType } from "../backend.ts";
import { composeShader, SHADER_KEYS, type ShaderOptions } from "./compose.ts";

/** Compiled when learning begins. */
const LEARNING = /backward|^product|^dot-add|^cross-entropy|^copy/;
const COMPUTE = 0x4; // GPUShaderStage.COMPUTE

export class Pipelines {
  readonly layout: GPUBindGroupLayout;
  readonly #device: GPUDevice;
  readonly #options: ShaderOptions;
  readonly #pipelineLayout: GPUPipelineLayout;
  readonly #ready = new Map<string, GPUComputePipeline>();
  readonly #pending = new Map<string, Promise<void>>();

  constructor(device: GPUDevice, options: ShaderOptions) {
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

  /** Compiles all that a model with such weights needs. */
  async warmUp(type: WeightType): Promise<void> {
    const bank = type === "f32" ? "f32" : "q8";
    // the f32 variants also serve passes that have no bank
    const keys = SHADER_KEYS.filter((key) => {
      if (LEARNING.test(key)) return false;
      const own = /-(f32|q8|q4)$/.exec(key)?.[1];
      return own === undefined || own === type || own === bank || isForAll(key);
    });
    await Promise.all(keys.map((key) => this.#prepare(key)));
  }

  get(key: string): GPUComputePipeline {
    const ready = this.#ready.get(key);
    if (ready !== undefined) return ready;
    // Not warmed up: no weights of its type were loaded. Rare, and correct.
    const { code } = composeShader(key, this.#options);
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
    const { code, locate } = composeShader(key, this.#options);
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
    return { label: key, layout: this.#pipelineLayout, compute: { module, entryPoint: "main" } };
  }
}

function isForAll(key: string): boolean {
  return key.endsWith("-f32") && !/^(matvec|matmul|embed)/.test(key);
}
