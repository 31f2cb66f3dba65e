// What is published and documented from the sources: JSR's dry run, and the reference made from docstrings.
import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DENO } from "../hosts/binaries.ts";

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const json = (path: string) => JSON.parse(readFileSync(join(ROOT, path), "utf8"));
const missing = "missing" in DENO ? DENO.missing : undefined;

async function deno(
  args: readonly string[],
  cwd = ROOT,
): Promise<{ stdout: string; stderr: string }> {
  if ("missing" in DENO) throw new Error(DENO.missing);
  const env = { ...process.env, NO_COLOR: "1" };
  return run(DENO.path, args, { cwd, env, maxBuffer: 64 * 2 ** 20 });
}

test("jsr.json and package.json tell the same", () => {
  const { name, version, license, exports } = json("jsr.json");
  const npm = json("package.json");
  expect(name).toBe(`@${npm.name}/${npm.name}`);
  expect([version, license]).toEqual([npm.version, npm.license]);
  for (const [entry, path] of Object.entries<string>(exports)) {
    expect(npm.exports[entry].default).toBe(
      path.replace(/^\.\/src/, "./dist").replace(/ts$/, "js"),
    );
  }
});

// In CI it must run, and fails without.
describe.skipIf(missing && !process.env.CI)(`Deno${missing ? `: ${missing}` : ""}`, () => {
  let copy: string;

  beforeAll(() => {
    copy = mkdtempSync(join(tmpdir(), "tureen-jsr-"));
    // A copy: what else lies in the folder, and whether it is committed, is not the question here.
    for (const path of [".gitignore", "jsr.json", "package.json", "LICENSE", "README.md", "src"]) {
      cpSync(join(ROOT, path), join(copy, path), { recursive: true });
    }
    symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
  });
  afterAll(() => rmSync(copy, { recursive: true, force: true }));

  test("JSR would take the sources: types checked, none slow, kernels among them", {
    timeout: 120_000,
  }, async () => {
    const { stderr } = await deno(["publish", "--dry-run", "--allow-dirty"], copy);
    expect(stderr).toContain("Dry run complete");
    expect(stderr).toContain("Checking for slow types");
    expect(stderr).toContain("src/backend/wasm/generated/relaxed-threads.ts");
    expect(stderr).not.toContain("src/cli/");
  });

  const ENTRIES = ["src/index.ts", "src/worker/client.ts"];

  test("everything public has a docstring", { timeout: 60_000 }, async () => {
    const { stdout } = await deno(["doc", "--json", ...ENTRIES]);
    const { nodes } = JSON.parse(stdout) as {
      nodes: Record<
        string,
        { symbols: { name: string; declarations: { jsDoc?: { doc?: string } }[] }[] }
      >;
    };
    const symbols = ENTRIES.flatMap((entry) => nodes[`file://${join(ROOT, entry)}`]!.symbols);
    expect(symbols.length).toBeGreaterThan(70);
    const bare = symbols.filter(({ declarations }) => !declarations.some((it) => it.jsDoc?.doc));
    // What the worker's entry exports again is documented where it comes from.
    const documented = new Set(symbols.filter((it) => !bare.includes(it)).map(({ name }) => name));
    expect(bare.map(({ name }) => name).filter((name) => !documented.has(name))).toEqual([]);
  });

  test("`npm run docs` writes the reference", { timeout: 60_000 }, async () => {
    const [, ...args] = json("package.json").scripts.docs.split(" ");
    const output = join(copy, "api");
    const own = args.map((arg: string) =>
      arg.startsWith("--output=") ? `--output=${output}` : arg,
    );
    await deno(own);
    expect(existsSync(join(output, "index.html"))).toBe(true);
    expect(readFileSync(join(output, "all_symbols.html"), "utf8")).toContain("loadModel");
  });
});
