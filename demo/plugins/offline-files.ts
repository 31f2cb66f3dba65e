// Tells the service worker what the page consists of, so that it can keep all of it: the list is known once everything is built.
import { createHash } from "node:crypto";
import type { Plugin } from "vite";

export function offlineFiles(): Plugin {
  return {
    name: "offline-files",
    apply: "build",
    enforce: "post",
    generateBundle(_, bundle) {
      const worker = bundle["service-worker.js"];
      if (worker?.type !== "chunk") throw new Error("the service worker was not built");
      // The kitchen is kept by the page itself, which shows how far it is.
      const names = Object.keys(bundle).filter(
        (name) => name !== worker.fileName && !name.startsWith("kitchen/"),
      );
      const hash = createHash("sha256");
      for (const name of names.sort()) {
        const item = bundle[name]!;
        hash.update(name).update(item.type === "chunk" ? item.code : item.source);
      }
      const version = hash.digest("hex").slice(0, 12);
      worker.code = worker.code
        .replace(/["'`]__VERSION__["'`]/, JSON.stringify(version))
        .replace(/["'`]__FILES__["'`]/, JSON.stringify(names.join("\n")));
    },
  };
}
