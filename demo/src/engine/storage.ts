// What this page keeps in the browser, and how to be rid of it.
import type { TureenWorker } from "tureen/worker";

export interface Kept {
  /** Models of the Hub, by name. */
  readonly models: readonly { readonly repo: string; readonly nBytes: number }[];
  /** All that the site keeps, as the browser counts it: page, kitchen and models. */
  readonly total: number | undefined;
}

export async function readKept(worker: TureenWorker): Promise<Kept> {
  const cache = await worker.openHubCache().catch(() => undefined);
  const models = (await cache?.list().catch(() => undefined)) ?? [];
  const estimate = await navigator.storage?.estimate?.().catch(() => undefined);
  return {
    models: models.map(({ repo, nBytes }) => ({ repo, nBytes })),
    total: estimate?.usage,
  };
}

/** The next visit fetches everything anew. */
export async function clearKept(worker: TureenWorker): Promise<void> {
  const cache = await worker.openHubCache();
  for (const { repo } of (await cache?.list()) ?? []) await cache?.remove(repo);
  if (!("caches" in globalThis)) return;
  for (const name of await caches.keys()) {
    if (name.startsWith("tureen-")) await caches.delete(name);
  }
}
