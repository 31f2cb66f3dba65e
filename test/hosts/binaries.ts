// Where this machine has the hosts that are not Node, or why not.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const require = createRequire(import.meta.url);

/** A program, or the reason why there is none. */
export type Program = { readonly path: string } | { readonly missing: string };

function find(name: string, candidates: readonly (string | undefined)[]): Program {
  const path = candidates.find((candidate) => candidate !== undefined && existsSync(candidate));
  return path === undefined ? { missing: `${name} is not installed` } : { path };
}

/** A file of an npm package, if it is installed here. */
function inPackage(name: string, file: string): string | undefined {
  try {
    return join(dirname(require.resolve(`${name}/package.json`)), file);
  } catch {
    return undefined;
  }
}

const arch = process.arch === "arm64" ? "aarch64" : "x64";

// Straight to the programs: npm may not have run the packages' install scripts.
export const DENO: Program = find("Deno (npm package deno)", [
  inPackage(`@deno/linux-${process.arch}-glibc`, "deno"),
  inPackage(`@deno/darwin-${process.arch}`, "deno"),
]);
export const BUN: Program = find("Bun (npm package bun)", [
  inPackage(`@oven/bun-${process.platform}-${arch}`, "bin/bun"),
  inPackage("bun", "bin/bun.exe"),
]);
export const WORKERD: Program = find("workerd (npm package workerd)", [
  inPackage(
    `@cloudflare/workerd-${process.platform}-${process.arch === "arm64" ? "arm64" : "64"}`,
    "bin/workerd",
  ),
]);
export const CHROMIUM: Program = find("Chromium", [
  process.env.CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
]);
export const FIREFOX: Program = find("Firefox", [
  process.env.FIREFOX,
  "/usr/bin/firefox-esr",
  "/usr/bin/firefox",
]);
/** Other versions of Node, of test/hosts/package.json. */
export const NODE_22: Program = find("Node 22 (npm install --prefix test/hosts)", [
  inPackage("node-22", "bin/node"),
]);
export const NODE_24: Program = find("Node 24 (npm install --prefix test/hosts)", [
  inPackage("node-24", "bin/node"),
]);
