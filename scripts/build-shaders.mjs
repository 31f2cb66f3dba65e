// Writes shaders/*.wgsl and shaders/lib/*.wgsl as text into a module (src/backend/webgpu/generated/shaders.ts), so that the
// package needs no file access to load them. Comments and indentation go; lines stay, so that errors name the right one.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";

const root = new URL("..", import.meta.url);
const generated = new URL("src/backend/webgpu/generated/", root);

async function readShaders(folder) {
  const files = (await readdir(new URL(folder, root))).filter((name) => name.endsWith(".wgsl"));
  return Promise.all(
    files.sort().map(async (file) => {
      const text = await readFile(new URL(`${folder}${file}`, root), "utf8");
      return [file.replace(/\.wgsl$/, ""), strip(text)];
    }),
  );
}

/** `//# include name` stays, to be resolved when a shader is put together; what is declared in the piece's place goes. */
function strip(text) {
  let included = false;
  return text
    .split("\n")
    .map((line) => {
      if (line.startsWith("//# ")) included = line !== "//# end";
      if (line.startsWith("//# include ")) return line;
      return included ? "" : line.replace(/\s*\/\/.*$/, "").trim();
    })
    .join("\n")
    .trimEnd();
}

function declare(name, comment, entries) {
  const lines = entries.map(([key, text]) => `  ${JSON.stringify(key)}: ${JSON.stringify(text)},`);
  return `/** ${comment} */\nexport const ${name}: Readonly<Record<string, string>> = {\n${lines.join("\n")}\n};\n`;
}

const shaders = await readShaders("shaders/");
const pieces = await readShaders("shaders/lib/");
const text = [
  "// Made by scripts/build-shaders.mjs from shaders/.\n",
  declare("SHADERS", "One operation each.", shaders),
  declare("PIECES", "What they share.", pieces),
].join("");
const output = new URL("shaders.ts", generated);
await mkdir(generated, { recursive: true });
// Unchanged text keeps its file, so that nothing else is rebuilt.
if ((await readFile(output, "utf8").catch(() => "")) !== text) {
  await writeFile(output, text);
  console.error(`shaders: ${shaders.length}, ${text.length} bytes`);
}
