// WebGPU without a GPU, on every software renderer there is: SwiftShader under Node's `webgpu` package and under Chromium, Mesa's
// lavapipe under Deno. The same program everywhere, each in a process of its own.
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { CHROMIUM, DENO, type Program } from "../hosts/binaries.ts";
import { SWIFTSHADER, webgpuMissing } from "../support/webgpu.ts";
import { bundleProgram } from "./bundle.ts";
import { openBrowser } from "./chromium.ts";
import type { WebGpuReport } from "./program.ts";

const LAVAPIPE = "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json";
const path = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
const kitchen = path("../../demo/kitchen");
const goldens: { prompt_ids: number[] }[] = JSON.parse(
  readFileSync(path("../golden/kitchen/greedy.json"), "utf8"),
);
const prompt = goldens[0]!.prompt_ids;
const run = promisify(execFile);

let program: string;
beforeAll(async () => {
  program = await bundleProgram("webgpu");
});

interface Host {
  readonly name: string;
  readonly missing: string | undefined;
  /** What the device must say of itself. */
  readonly device: RegExp;
  /** Runs some of the cases: they ran on the same device elsewhere. */
  readonly few?: boolean;
  run(few: boolean): Promise<WebGpuReport>;
}

const HOSTS: readonly Host[] = [
  {
    name: "Node, package webgpu, SwiftShader",
    missing: webgpuMissing,
    device: /swiftshader.*subgroups/i,
    few: true,
    run: (few) => inProcess({ path: process.execPath }, [], { VK_DRIVER_FILES: SWIFTSHADER }, few),
  },
  {
    name: "Deno, lavapipe",
    missing: missingOf(DENO) ?? (existsSync(LAVAPIPE) ? undefined : `there is no ${LAVAPIPE}`),
    device: /llvmpipe/i,
    run: () => inProcess(DENO, ["run", "--no-check", "--allow-all"], { VK_DRIVER_FILES: LAVAPIPE }),
  },
  {
    name: "Chromium, page, SwiftShader",
    missing: missingOf(CHROMIUM),
    device: /swiftshader.*subgroups/i,
    run: () => onPage(""),
  },
  {
    name: "Chromium, worker, SwiftShader",
    missing: missingOf(CHROMIUM),
    device: /swiftshader.*subgroups/i,
    few: true,
    run: () => onPage("#worker"),
  },
];

describe.each(HOSTS)("$name", (host) => {
  if (host.missing !== undefined) {
    if (process.env.CI) test("is there", () => expect.fail(host.missing));
    else test.skip(`is not there: ${host.missing}`, () => undefined);
    return;
  }

  test("agrees with the reference, and with wasm's greedy tokens", async () => {
    const report = await host.run(host.few === true);
    expect(report.failure).toBeUndefined();
    expect(report.build).toMatch(host.device);
    expect(report.failures).toEqual([]);
    expect(report.cases).toBeGreaterThan(host.few ? 35 : 350);
    for (const [type, { webgpu, wasm, distance }] of Object.entries(report.greedy)) {
      expect(webgpu, type).toEqual(wasm);
      expect(webgpu.length, type).toBeGreaterThan(1);
      expect(distance, type).toBeLessThan(BOUNDS[type]!);
    }
  }, 400_000);
});

/**
 * Largest difference of the logits, of the largest logit. f32: 20 × the 1.2e-5 by which two orders of the same sums differ
 * (test/model/golden.test.ts), of logits near 20. q8 and q4: an activation that differs in its last bit may round to another
 * int8. Rounding all of them has 3e-4 of the logits' power (same place), four deviations are 7 % of their root mean square and 2 %
 * of the largest; some of them do less.
 */
const BOUNDS: Readonly<Record<string, number>> = { none: 2e-5, q8: 0.02, q4: 0.02 };

function missingOf(program: Program): string | undefined {
  return "missing" in program ? program.missing : undefined;
}

async function inProcess(
  host: Program,
  flags: readonly string[],
  env: Readonly<Record<string, string>>,
  few = false,
): Promise<WebGpuReport> {
  if ("missing" in host) throw new Error(host.missing);
  const args = [
    ...flags,
    path("command.mjs"),
    program,
    kitchen,
    JSON.stringify(prompt),
    few ? "10" : "1",
  ];
  const { stdout } = await run(host.path, args, { env: { ...process.env, ...env } });
  return JSON.parse(stdout);
}

async function onPage(hash: string): Promise<WebGpuReport> {
  const { browser, url, close } = await openBrowser(program);
  try {
    const tab = await browser.newPage();
    const query = new URLSearchParams({ prompt: JSON.stringify(prompt) });
    await tab.goto(`${url}index.html?${query}${hash}`);
    const text = await tab.locator("#result").textContent({ timeout: 380_000 });
    return JSON.parse(text!);
  } finally {
    await close();
  }
}
