// The package as it is published: what npm would pack, and that README's program runs against it.
import { execFileSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
let consumer: string;
let files: string[];

beforeAll(() => {
  consumer = mkdtempSync(join(tmpdir(), "tureen-consumer-"));
  const args = ["pack", "--dry-run", "--json", "--ignore-scripts"];
  const [pack] = JSON.parse(
    execFileSync("npm", args, { cwd: ROOT, encoding: "utf8", stdio: "pipe" }),
  );
  files = pack.files.map(({ path }: { path: string }) => path);
  const installed = join(consumer, "node_modules/tureen");
  for (const path of files) {
    mkdirSync(dirname(join(installed, path)), { recursive: true });
    cpSync(join(ROOT, path), join(installed, path));
  }
  // Only the dependencies that the package declares are within its reach.
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  for (const name of Object.keys(dependencies)) {
    const target = join(consumer, "node_modules", name);
    mkdirSync(dirname(target), { recursive: true });
    symlinkSync(join(ROOT, "node_modules", name), target);
  }
  writeFileSync(join(consumer, "package.json"), '{ "type": "module" }');
});
afterAll(() => rmSync(consumer, { recursive: true, force: true }));

test("holds the library, the command, the kitchen, and nothing of the workshop", () => {
  for (const path of [
    "dist/index.js",
    "dist/index.d.ts",
    "dist/cli/main.js",
    "README.md",
    "LICENSE",
  ]) {
    expect(files).toContain(path);
  }
  expect(files).toContain("demo/kitchen/base/model.safetensors");
  expect(files.filter((path) => /^(src|test|assembly|scripts)\/|\.test\./.test(path))).toEqual([]);
});

test("README's program runs in a project that installed it", () => {
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  const program = /```js\n([\s\S]*?)```/.exec(readme)![1]!;
  cpSync(join(consumer, "node_modules/tureen/demo"), join(consumer, "demo"), { recursive: true });
  writeFileSync(join(consumer, "program.js"), program);
  const output = execFileSync(process.execPath, ["program.js"], {
    cwd: consumer,
    encoding: "utf8",
  });
  expect(output).toBe(" Daxpel carries a ladder.");
  const merged = JSON.parse(readFileSync(join(consumer, "my-soup/adapter_config.json"), "utf8"));
  expect(merged).toMatchObject({ r: 16, lora_alpha: 16, peft_type: "LORA" });
});

test("its types are complete: a consumer type-checks without skipLibCheck", () => {
  writeFileSync(
    join(consumer, "consumer.ts"),
    `import { loadModel, type Soup, TureenError, type ErrorCode } from "tureen";
const model = await loadModel("x", { quantize: "q8", backend: "wasm", threads: 2 });
const soup: Soup = model.soup({ math: 0.5, code: { default: 1, layers: [1, 2] } });
const result = await model.generate([{ role: "user", content: "hi" }], { soup, maxTokens: 3 }).result();
const code: ErrorCode = new TureenError("ABORTED", result.text).code;
console.log(code);
`,
  );
  const options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022"];
  const lib = ["--lib", "es2023,dom,dom.asynciterable,esnext.disposable"];
  const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
  const run = () =>
    execFileSync(process.execPath, [tsc, ...options, ...lib, "--types", "", "consumer.ts"], {
      cwd: consumer,
      encoding: "utf8",
      stdio: "pipe",
    });
  try {
    run();
  } catch (error) {
    throw new Error((error as { stdout: string }).stdout);
  }
});
