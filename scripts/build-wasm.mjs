// Compiles assembly/ once per target of asconfig.json and writes each binary, deflated and in base64, into a module of its own
// (src/backend/wasm/generated/<target>.ts), so that the package needs no file access or bundler plugin to load it. Writes the
// script of a thread as text beside them, for programs in one file (thread-pool.ts).
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { deflateRawSync } from "node:zlib";
import asc from "assemblyscript/asc";

const root = new URL("..", import.meta.url);
const generated = new URL("src/backend/wasm/generated/", root);
const { targets } = JSON.parse(await readFile(new URL("asconfig.json", root), "utf8"));
const { version } = JSON.parse(await readFile(new URL("package.json", root), "utf8"));

/** A module is up to date when it is newer than every source and the configuration. */
async function isFresh(output) {
  const inputs = (await readdir(new URL("assembly/", root))).map((name) => `assembly/${name}`);
  inputs.push("asconfig.json", "scripts/build-wasm.mjs", "package-lock.json");
  const times = await Promise.all(
    inputs.map(async (name) => (await stat(new URL(name, root))).mtimeMs),
  );
  const made = await stat(output).catch(() => undefined);
  return made !== undefined && made.mtimeMs >= Math.max(...times);
}

/** Appends a custom section that names the build, so that a compiled module can say what it is (builds.ts). */
function mark(bytes, target) {
  const [name, content] = ["tureen.build", `${target} ${version}`].map((text) => Buffer.from(text));
  const payload = Buffer.concat([Buffer.from([name.length]), name, content]);
  return Buffer.concat([bytes, Buffer.from([0, payload.length]), payload]); // all below 128: one LEB byte each
}

process.chdir(new URL(".", root).pathname);
await mkdir("build", { recursive: true });
await mkdir(generated, { recursive: true });
const script = await readFile(new URL("src/backend/wasm/thread.js", root), "utf8");
await writeFile(
  new URL("thread-source.ts", generated),
  `// Made by scripts/build-wasm.mjs from thread.js.\nexport const source: string =\n  ${JSON.stringify(script)};\n`,
);
for (const target of Object.keys(targets)) {
  const output = new URL(`${target}.ts`, generated);
  if (await isFresh(output)) continue;
  const { error, stderr } = await asc.main(["--config", "asconfig.json", "--target", target]);
  const messages = stderr.toString();
  if (messages !== "") console.error(messages);
  if (error) {
    console.error(`assembly/ does not compile for target ${target}: ${error.message}`);
    process.exit(1);
  }
  const bytes = mark(await readFile(targets[target].outFile), target);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  await writeFile(
    output,
    `// Made by scripts/build-wasm.mjs from assembly/; sha256 ${sha256}.\nexport const wasm: string =\n  "${deflateRawSync(bytes, { level: 9 }).toString("base64")}";\n`,
  );
  console.error(`${target}: ${bytes.length} bytes`);
}
