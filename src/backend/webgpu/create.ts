// Starts the WebGPU backend.
import { TureenError } from "../../errors.ts";
import type { Backend } from "../backend.ts";
import { findAdapter, findGpu, openDevice } from "./device.ts";
import { WebGpuBackend } from "./webgpu-backend.ts";

/**
 * @param gpu the host's WebGPU; default: what the host has
 * @throws TureenError `BACKEND_UNAVAILABLE`
 */
export async function createWebGpuBackend(gpu?: GPU): Promise<Backend> {
  const found = gpu ?? (await findGpu());
  const adapter = typeof found === "string" ? found : await findAdapter(found);
  if (typeof found === "string" || typeof adapter === "string") {
    throw new TureenError("BACKEND_UNAVAILABLE", "the WebGPU backend cannot run here", {
      found: String(typeof found === "string" ? found : adapter),
      hint: "Use the wasm backend; in Node, install the package `webgpu`.",
    });
  }
  return new WebGpuBackend(await openDevice(found, adapter));
}
