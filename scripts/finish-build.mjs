// What tsc does not do: copies the thread entry point, which is plain JavaScript so that a worker can run it unbuilt, and
// marks the command as executable.
import { chmod, copyFile } from "node:fs/promises";

const root = new URL("..", import.meta.url);
await copyFile(
  new URL("src/backend/wasm/thread.js", root),
  new URL("dist/backend/wasm/thread.js", root),
);
await chmod(new URL("dist/cli/main.js", root), 0o755);
