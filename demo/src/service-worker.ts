// Keeps the page for visits without a network. With `?isolate` in its address it also adds the headers that let the page use
// threads, for hosts that cannot set them. It keeps nothing of models: the page and the library do.
/// <reference lib="webworker" />
export {};

declare const self: ServiceWorkerGlobalScope;

const CACHE = `tureen-page-${"__VERSION__"}`;
const FILES = "__FILES__".split("\n");
const isolate = new URL(self.location.href).searchParams.has("isolate");

self.addEventListener("install", (event) => {
  event.waitUntil(keepPage());
});

self.addEventListener("activate", (event) => {
  event.waitUntil(dropOldPages().then(() => self.clients.claim()));
});

/** A later version waits until no tab shows the earlier one, whose parts it would drop; unless a visitor switched headers. */
self.addEventListener("message", ({ data }) => {
  if (data === "take over") void self.skipWaiting();
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const isOwn = new URL(request.url).href.startsWith(self.registration.scope);
  if (request.method !== "GET" || !isOwn || request.headers.has("range")) return;
  event.respondWith(
    answer(request).then((response) => (isolate ? addHeaders(response) : response)),
  );
});

async function keepPage(): Promise<void> {
  const cache = await caches.open(CACHE);
  await cache.addAll(FILES.map((name) => new Request(name, { cache: "no-cache" })));
}

async function dropOldPages(): Promise<void> {
  for (const name of await caches.keys()) {
    if (name.startsWith("tureen-page-") && name !== CACHE) await caches.delete(name);
  }
}

/** The page itself is asked for anew where there is a network; its parts have their content in their names. */
async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  if (request.mode === "navigate") {
    try {
      return await fetch(request);
    } catch {
      return (await cache.match("index.html")) ?? Response.error();
    }
  }
  const kept = await cache.match(request, { ignoreSearch: true });
  if (kept !== undefined) return kept;
  const response = await fetch(request);
  const path = request.url.slice(self.registration.scope.length);
  if (response.ok && FILES.includes(path)) await cache.put(request, response.clone());
  return response;
}

function addHeaders(response: Response): Response {
  if (response.status === 0) return response;
  const headers = new Headers(response.headers);
  headers.set("cross-origin-opener-policy", "same-origin");
  headers.set("cross-origin-embedder-policy", "require-corp");
  const { status, statusText, body } = response;
  return new Response(body, { status, statusText, headers });
}
