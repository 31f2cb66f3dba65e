// npm run bench:peers: measures, writes all values as JSON, prints the report. README: docs/benchmarks.md.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { HELP, parseOptions } from "./options.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const root = fileURLToPath(new URL("../..", import.meta.url));
const node24 = `${root}test/hosts/node_modules/node-24/bin/node`;

if (process.argv.includes("--help")) {
  console.log(HELP);
} else {
  parseOptions(process.argv.slice(2)); // complains before anything is installed
  install(here, `${here}node_modules/node-llama-cpp`, "engines to compare with (580 MB)");
  install(`${root}test/hosts`, node24, "Node 24 (100 MB)");
  // The harness shares TypeScript with the tests, which this Node may not be able to run.
  const { status } = spawnSync(node24, [`${here}bench.mjs`, ...process.argv.slice(2)], {
    cwd: root,
    stdio: "inherit",
  });
  process.exitCode = status ?? 1;
}

/** Only from the npm registry: no install script may build or download anything. */
function install(folder, proof, what) {
  if (existsSync(proof)) return;
  console.error(`installing ${what}`);
  // Not `ci`: the lock file does not name the packages of other platforms.
  const args = ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"];
  const { status } = spawnSync("npm", args, {
    cwd: folder,
    stdio: ["ignore", process.stderr.fd, process.stderr.fd],
    shell: process.platform === "win32",
  });
  if (status !== 0) throw new Error(`npm could not install ${what}`);
}
