// WebGPU without a GPU: the package `webgpu` on the software renderer that Debian's Chromium brings along.
import { existsSync } from "node:fs";
import type { Backend } from "../../src/backend/backend.ts";

export const SWIFTSHADER: string = "/usr/lib/chromium/vk_swiftshader_icd.json";

/** Why there is no WebGPU in this Node, or undefined. */
export const webgpuMissing: string | undefined = existsSync(SWIFTSHADER)
  ? undefined
  : `there is no ${SWIFTSHADER}`;

export async function createTestWebGpu(): Promise<Backend> {
  process.env.VK_DRIVER_FILES ??= SWIFTSHADER; // read by the Vulkan loader when the first device is asked for
  const { createWebGpuBackend } = await import("../../src/backend/webgpu/create.ts");
  return createWebGpuBackend();
}
