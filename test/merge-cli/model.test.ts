// Full models: what a merge writes into the base's weights, in shards, and how an interrupted run goes on.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { loadModel } from "../../src/index.ts";
import { kitchenPath, loadKitchen } from "../support/kitchen.ts";
import { readJsonFile } from "../support/models.ts";
import { expectClose } from "../support/values.ts";
import { KITCHEN, merge, useScratch } from "./support.ts";

const scratch = useScratch();
const IDS = [1, 591, 38, 35, 84];
const STATE = "tureen-merge.json";

/** Rounding of W + ΔW to f32, through six layers; logits are below 20. */
const BOUND = 1e-4;

async function logits(folder: string): Promise<Float32Array> {
  const model = await loadModel(folder, { backend: "reference" });
  const result = await model.logits(IDS);
  await model.dispose();
  return result;
}

describe("--full", () => {
  test.each<[string, Record<string, string>]>([
    ["cat", {}],
    ["ties", { density: "0.5" }],
    ["mergekit:ties", { density: "0.5" }],
  ])("%s: the logits of the live soup", async (method, options) => {
    const out = scratch.path(`full ${method}`);
    await merge({ ...KITCHEN, method, ...options, out, full: true });
    const model = await loadKitchen();
    const weights = { knowledge: 1, format: 0.5 };
    const spec = {
      method,
      weights,
      ...(options.density === undefined ? {} : { density: 0.5 }),
      ...(method.startsWith("mergekit") ? { svdRank: 128 } : {}), // all that there is
    };
    await model.merge(spec, { name: "merged" });
    expectClose(await logits(out), await model.logits(IDS, { soup: { merged: 1 } }), BOUND);
    expect(Math.abs((await model.logits(IDS))[0]! - (await logits(out))[0]!)).toBeGreaterThan(
      10 * BOUND,
    );
    await model.dispose();
    expect(readdirSync(out).sort()).toEqual([
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    for (const file of ["config.json", "tokenizer.json"]) {
      expect(readFileSync(`${out}/${file}`)).toEqual(readFileSync(kitchenPath(`base/${file}`)));
    }
  });

  test("shards hold the same weights, and their index says where", async () => {
    const out = scratch.path("shards");
    await merge({ ...KITCHEN, out, full: true, "shard-size": "1MB" });
    const shards = readdirSync(out).filter((file) => file.endsWith(".safetensors"));
    expect(shards[0]).toBe("model-00001-of-00006.safetensors");
    expect(shards.length).toBe(6);
    for (const shard of shards) expect(statSync(`${out}/${shard}`).size).toBeLessThan(1.01e6);
    const index = readJsonFile(out, "model.safetensors.index.json");
    const nBytes = statSync(kitchenPath("base/model.safetensors")).size;
    expect(index.metadata.total_size).toBeGreaterThan(0.99 * nBytes);
    const whole = scratch.path("one file");
    await merge({ ...KITCHEN, out: whole, full: true });
    expect(await logits(out)).toEqual(await logits(whole));
  });

  test("--dtype writes another type, and the config says so", async () => {
    const out = scratch.path("bfloat16");
    await merge({ ...KITCHEN, out, full: true, dtype: "bfloat16" });
    expect(readJsonFile(out, "config.json").torch_dtype).toBe("bfloat16");
    const size = statSync(`${out}/model.safetensors`).size;
    expect(size).toBeLessThan(0.52 * statSync(kitchenPath("base/model.safetensors")).size);
    const model = await loadKitchen();
    const live = await model.logits(IDS, { soup: { knowledge: 1, format: 0.5 } });
    const best = (values: Float32Array): number => values.indexOf(Math.max(...values));
    expect(best(await logits(out))).toBe(best(live));
    await model.dispose();
  });

  test("leaves a folder that holds a model alone", async () => {
    const out = scratch.path("taken");
    await merge({ ...KITCHEN, out, full: true });
    const before = readFileSync(`${out}/model.safetensors`);
    const again = merge({ ...KITCHEN, weights: "knowledge=2", out, full: true });
    await expect(again).rejects.toThrow(/already holds a model.*model\.safetensors/);
    expect(readFileSync(`${out}/model.safetensors`).equals(before)).toBe(true);
  });
});

describe("an interrupted run", () => {
  const flags = { ...KITCHEN, method: "ties", density: "0.5", full: true, "shard-size": "150kB" };
  let whole: string;
  beforeAll(async () => {
    whole = scratch.path("uninterrupted");
    await merge({ ...flags, out: whole });
  });

  function expectWhole(out: string): void {
    expect(readdirSync(out).sort()).toEqual(readdirSync(whole).sort());
    for (const file of readdirSync(whole)) {
      expect(readFileSync(`${out}/${file}`).equals(readFileSync(`${whole}/${file}`)), file).toBe(
        true,
      );
    }
  }

  /** Until so many shards are noted as finished. */
  async function waitForShards(out: string, count: number): Promise<string[]> {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (!existsSync(`${out}/${STATE}`)) continue;
      const { finished } = readJsonFile(out, STATE);
      if (finished.length >= count) return finished;
    }
  }

  test("goes on with the shards that are finished", async () => {
    const out = scratch.path("interrupted");
    const running = merge({ ...flags, out });
    running.catch(() => undefined);
    await waitForShards(out, 3);
    process.emit("SIGINT");
    await expect(running).rejects.toMatchObject({ code: "ABORTED" });
    const finished: string[] = readJsonFile(out, STATE).finished;
    expect(readdirSync(out).sort()).toEqual([...finished, STATE].sort()); // nothing half-written
    const times = finished.map((file) => statSync(`${out}/${file}`).mtimeMs);
    await merge({ ...flags, out });
    expect(scratch.notes()).toMatch(new RegExp(`${finished.length} of \\d+ files are there`));
    expect(finished.map((file) => statSync(`${out}/${file}`).mtimeMs)).toEqual(times);
    expectWhole(out);
  });

  test("of another merge is begun anew", async () => {
    const out = scratch.path("changed");
    const running = merge({ ...flags, density: "0.6", out });
    running.catch(() => undefined);
    await waitForShards(out, 2);
    process.emit("SIGINT");
    await running.catch(() => undefined);
    await merge({ ...flags, out });
    expect(scratch.notes()).not.toMatch(/are there/);
    expectWhole(out);
  });

  test("does not trust a shard whose size is wrong, nor a broken note", async () => {
    const out = scratch.path("damaged");
    const running = merge({ ...flags, out });
    running.catch(() => undefined);
    const [shard] = await waitForShards(out, 2);
    process.emit("SIGINT");
    await running.catch(() => undefined);
    writeFileSync(`${out}/${shard}`, "short");
    await merge({ ...flags, out });
    expectWhole(out);

    const other = scratch.path("broken note");
    mkdirSync(other);
    writeFileSync(`${other}/${STATE}`, '{"key":"x","finished":["../../etc/passwd"]}');
    await merge({ ...flags, out: other });
    expectWhole(other);
  });

  const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
  const args = (out: string): string[] => {
    const { model, weights } = KITCHEN;
    const { method, density } = flags;
    const named = { model, weights, method, density, "shard-size": flags["shard-size"], out };
    const adapters = KITCHEN.adapter as string[];
    return [
      ...[main, "merge", "--full"],
      ...Object.entries(named).flatMap(([name, value]) => [`--${name}`, String(value)]),
      ...adapters.flatMap((text) => ["--adapter", text]),
    ];
  };

  test("survives a kill", async () => {
    const out = scratch.path("killed");
    const child = spawn(process.execPath, args(out), { stdio: "ignore" });
    const exited = new Promise((resolve) => child.once("exit", (_, signal) => resolve(signal)));
    await waitForShards(out, 3);
    child.kill("SIGKILL");
    expect(await exited).toBe("SIGKILL");
    expect(existsSync(`${out}/model.safetensors.index.json`)).toBe(false);
    execFileSync(process.execPath, args(out), { stdio: "ignore" });
    expectWhole(out);
  });

  test.skipIf(process.platform === "win32")("a write that fails leaves no half file", () => {
    const out = scratch.path("full disk");
    // No file beyond 100 KiB or so: the system refuses to write on, as it does on a full disk.
    const limited = ["-c", 'ulimit -f 100; exec "$0" "$@"', process.execPath, ...args(out)];
    const { status, stderr } = spawnSync("sh", limited, { encoding: "utf8" });
    expect(status).toBe(1);
    expect(stderr).toMatch(/SOURCE_WRITE_FAILED: cannot write: found EFBIG.*model-\d+-of-\d+/);
    const left = readdirSync(out).filter((file) => file !== STATE);
    expect(left).toEqual(readJsonFile(out, STATE).finished);
    execFileSync(process.execPath, args(out), { stdio: "ignore" });
    expectWhole(out);
  });
});
