// The shader files themselves, and their variants that no device of the other tests needs.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/create.ts";
import { composeShader, SHADER_NAMES } from "../../src/backend/webgpu/compose.ts";
import { findGpu, openDevice } from "../../src/backend/webgpu/device.ts";
import { Pipelines } from "../../src/backend/webgpu/pipelines.ts";
import { WebGpuBackend } from "../../src/backend/webgpu/webgpu-backend.ts";
import { linearCase } from "../backend/cases.ts";
import { expectClose } from "../support/values.ts";
import { SWIFTSHADER, webgpuMissing } from "../support/webgpu.ts";

const folder = fileURLToPath(new URL("../../shaders/", import.meta.url));
const list = (path: string): string[] =>
  readdirSync(`${folder}${path}`)
    .filter((name) => name.endsWith(".wgsl"))
    .map((name) => path + name);
const files = list("");
const pieces = list("lib/");
const textOf = (file: string): string => readFileSync(`${folder}${file}`, "utf8");

test.each(files)("%s is short, and says what it does and what it is given", (file) => {
  const lines = textOf(file).split("\n");
  expect(lines.length).toBeLessThan(151);
  const header = lines.filter((line) => line.startsWith("// ")).join(" ");
  expect(header).toMatch(/Grid: .*Bindings: /);
});

/** Declarations on one line each, without bodies and values: what a user must know. */
function declarations(text: string): string[] {
  const code = text.replace(/\/\/.*/g, "").replace(/\s+/g, " ");
  const heads = code.match(
    /(fn \w+[^{]*|struct \w+ {[^}]*}|override \w+: \w+|const[^;]*|(@[^;]*|var<)[^;]*)/g,
  );
  return (heads ?? []).map((head) => head.replace(/,? }/, " }").trim());
}

test.each([...files, ...pieces])("what %s declares of its pieces is what they declare", (file) => {
  for (const [, name, region] of textOf(file).matchAll(/^\/\/# include (.*)\n([^#]*)(?=\/\/#)/gm)) {
    const variants = pieces.filter((piece) =>
      new RegExp(`lib/${name}(-[^-]*)?\\.wgsl$`).test(piece),
    );
    const known = variants.flatMap((piece) => declarations(textOf(piece)));
    const declared = declarations(region!);
    expect(declared.length, `${name} in ${file}`).toBeGreaterThan(0);
    expect(known).toEqual(expect.arrayContaining(declared));
  }
});

test("every variant of every shader is put together from pieces that exist, each once", () => {
  expect(SHADER_NAMES.length).toBeGreaterThan(30);
  for (const key of SHADER_NAMES) {
    for (const subgroups of [false, true]) {
      const { code, locate } = composeShader(key, { subgroups, packedDot: !subgroups });
      expect(code).not.toContain("//#");
      expect(code.match(/fn load\(/g)?.length, key).toBe(1);
      expect(locate(code.split("\n").length)).toMatch(/^shaders\/[\w-]+\.wgsl:\d+$/);
    }
  }
});

describe.skipIf(webgpuMissing !== undefined)("on a device", () => {
  let gpu: GPU;
  let backend: Backend;
  let device: GPUDevice;
  beforeAll(async () => {
    process.env.VK_DRIVER_FILES ??= SWIFTSHADER;
    gpu = (await findGpu()) as GPU;
    const adapter = (await gpu.requestAdapter())!;
    const open = await openDevice(gpu, adapter);
    device = open.device;
    // as on a device without dot products of packed bytes
    backend = new WebGpuBackend({ ...open, packedDot: false });
  });
  afterAll(async () => {
    await backend.dispose();
  });

  test.each([...files, ...pieces])("%s is valid WGSL on its own", async (file) => {
    const module = device.createShaderModule({ label: file, code: textOf(file) });
    const { messages } = await module.getCompilationInfo();
    expect(messages.map(({ lineNum, message }) => `${lineNum}: ${message}`)).toEqual([]);
  });

  test.each(["q8", "q4"] as const)("products of %s with emulated dot products", async (type) => {
    const bank = [{ rank: 16, m: 0.7 }];
    for (const n of [1, 5]) {
      const shape = { type, rows: 45, cols: 70, n, bank };
      const one = linearCase(shape);
      const expected = await one.run(createReferenceBackend());
      const bound = one.gpuBound as (expected: Float32Array) => (i: number) => number;
      expectClose(await one.run(backend), expected, bound(expected));
    }
  });

  /** Whose shaders have a mistake. */
  function wrongPipelines(right: string, fail: (error: unknown) => void): Pipelines {
    const wrong = new Proxy(device, {
      get: (target, key) => {
        if (key !== "createShaderModule") return Reflect.get(target, key).bind?.(target);
        return ({ label, code }: GPUShaderModuleDescriptor) =>
          target.createShaderModule({
            ...(label === undefined ? {} : { label }),
            code: code.replace(right, "noSuchFunction("),
          });
      },
    });
    return new Pipelines(wrong, { subgroups: true, packedDot: true, threads: 64, fail });
  }

  test("an error names the shader and its line, also where nobody waits for it", async () => {
    const told = new Promise((resolve) => {
      wrongPipelines("soften(state", resolve).warmUpCache(64, "f16");
    });
    expect(String(await told)).toMatch(/shader attention .*shaders\/attention\.wgsl:\d+/);
    const pipelines = wrongPipelines("inverseSqrt(", () => undefined);
    await expect(pipelines.warmUp("f32")).rejects.toMatchObject({
      code: "BACKEND_FAILED",
      message: expect.stringMatching(
        /shader (matvec-f32|rmsnorm) .*shaders\/(lib\/)?[\w-]+\.wgsl:\d+/,
      ),
    });
  });
});
