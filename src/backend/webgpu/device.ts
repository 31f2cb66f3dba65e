// Finds a GPU: the host's own WebGPU (browsers, Deno, workers), or the optional package `webgpu` (Node). Requests what the
// shaders use and the device has, nothing else. Small: it is loaded to find out whether the rest is worth loading.
import { TureenError } from "../../errors.ts";

/** A device, and what the rest of the backend needs to know of it. */
export interface OpenDevice {
  readonly device: GPUDevice;
  /** For people: vendor and name. */
  readonly description: string;
  /** Rendered by the processor: good for tests, slower than wasm. */
  readonly software: boolean;
  /** Shaders may use `dot4I8Packed`. */
  readonly packedDot: boolean;
}

/** Of the package: one for the process, kept, since its devices do not keep it alive. */
let packaged: GPU | undefined;

/** The host's WebGPU, or why there is none. */
export async function findGpu(): Promise<GPU | string> {
  const own = globalThis.navigator?.gpu;
  if (own !== undefined) return own;
  if (globalThis.process?.versions?.node === undefined) return "this host has no WebGPU";
  if (packaged !== undefined) return packaged;
  try {
    const name = "webgpu"; // not a literal: bundlers need not find it
    const { create } = (await import(/* @vite-ignore */ name)) as {
      create(options: string[]): GPU;
    };
    packaged = create(["enable-dawn-features=disable_workgroup_init"]);
    return packaged;
  } catch (error) {
    return `the package "webgpu" cannot be loaded: ${String(error)}`;
  }
}

/** The best adapter, or why there is none. */
export async function findAdapter(gpu: GPU): Promise<GPUAdapter | string> {
  try {
    const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
    return adapter ?? "WebGPU offers no adapter";
  } catch (error) {
    return `WebGPU offers no adapter: ${String(error)}`;
  }
}

/** Whether the adapter is the processor in disguise. */
export function isSoftware({ info }: GPUAdapter): boolean {
  return info.isFallbackAdapter || /swiftshader|llvmpipe|lavapipe|basic render/i.test(nameOf(info));
}

export function nameOf({ vendor, architecture, device, description }: GPUAdapterInfo): string {
  const parts = [vendor, architecture, description || device];
  return [...new Set(parts.map((part) => part.trim()))].filter((part) => part !== "").join(" ");
}

/** The GPU that `backend: "auto"` would take, or why it takes none. */
export async function describeGpu(): Promise<{ readonly name: string } | { readonly why: string }> {
  const gpu = await findGpu();
  if (typeof gpu === "string") return { why: gpu };
  const adapter = await findAdapter(gpu);
  if (typeof adapter === "string") return { why: adapter };
  const name = nameOf(adapter.info);
  return isSoftware(adapter) ? { why: `${name} is a software renderer` } : { name };
}

/** @throws TureenError `BACKEND_UNAVAILABLE` */
export async function openDevice(gpu: GPU, adapter: GPUAdapter): Promise<OpenDevice> {
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  const features = (["subgroups"] as const).filter((name) => adapter.features.has(name));
  try {
    const device = await adapter.requestDevice({
      label: "tureen",
      requiredFeatures: features as GPUFeatureName[],
      // Models are large: these two as the adapter has them, all else as every device has it.
      requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
    });
    // Not every host's types know it.
    const { wgslLanguageFeatures: language } = gpu as {
      readonly wgslLanguageFeatures?: { has(name: string): boolean };
    };
    return {
      device,
      description: nameOf(adapter.info),
      software: isSoftware(adapter),
      packedDot: language?.has("packed_4x8_integer_dot_product") ?? false,
    };
  } catch (cause) {
    throw new TureenError(
      "BACKEND_UNAVAILABLE",
      "the GPU gives no device",
      { found: String(cause), where: nameOf(adapter.info) },
      { cause },
    );
  }
}
