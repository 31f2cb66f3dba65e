import { defineConfig, type ViteUserConfig } from "vitest/config";
import { supportedBuilds } from "./src/backend/wasm/builds.ts";

// Node 20 has relaxed SIMD behind a flag; the tests cover those builds there too.
const relaxed = supportedBuilds().includes("relaxed");

const config: ViteUserConfig = defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: "forks",
    execArgv: relaxed ? [] : ["--experimental-wasm-relaxed-simd"],
  },
});

export default config;
