// Chromium with WebGPU on SwiftShader, and the program's pages in it.
import { fileURLToPath } from "node:url";
import { type Browser, chromium } from "playwright-core";
import { CHROMIUM } from "../hosts/binaries.ts";
import { serveFiles } from "../hosts/server.ts";

const path = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

export interface ProgramBrowser {
  readonly browser: Browser;
  /** Of the folder page/. */
  readonly url: string;
  close(): Promise<void>;
}

/** @param program folder of the bundle */
export async function openBrowser(program: string): Promise<ProgramBrowser> {
  if ("missing" in CHROMIUM) throw new Error(CHROMIUM.missing);
  const server = await serveFiles({
    "/program/": `${program}/`,
    "/kitchen/": `${path("../../demo/kitchen")}/`,
    "/": path("page/"),
  });
  const browser = await chromium.launch({
    executablePath: CHROMIUM.path,
    args: [
      "--headless",
      "--no-sandbox",
      "--enable-unsafe-webgpu",
      "--use-webgpu-adapter=swiftshader",
      "--enable-dawn-features=disable_workgroup_init", // which SwiftShader compiles for seconds
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  const close = async (): Promise<void> => {
    await browser.close();
    await server.close();
  };
  return { browser, url: server.url, close };
}
