// Registers the service worker that keeps the page for visits without a network; on request, the one that also adds the headers
// which threads need, for hosts that cannot send them.

const ISOLATE = "tureen-isolate";

export function wantsIsolation(): boolean {
  try {
    return localStorage.getItem(ISOLATE) === "yes";
  } catch {
    return false;
  }
}

export async function keepOffline(): Promise<void> {
  if (!import.meta.env.PROD || !("serviceWorker" in navigator)) return;
  const name = `service-worker.js${wantsIsolation() ? "?isolate" : ""}`;
  await navigator.serviceWorker.register(new URL(name, document.baseURI)).catch(() => undefined);
}

/** Switches the headers on or off and loads the page again under them. */
export async function setIsolation(wanted: boolean): Promise<void> {
  if (wanted) localStorage.setItem(ISOLATE, "yes");
  else localStorage.removeItem(ISOLATE);
  await keepOffline();
  const registration = await navigator.serviceWorker.ready;
  const next = registration.installing ?? registration.waiting;
  if (next !== null) {
    await new Promise<void>((resolve) => {
      const proceed = (): void => {
        if (next.state === "installed") next.postMessage("take over");
        if (next.state === "activated") resolve();
      };
      next.addEventListener("statechange", proceed);
      proceed();
    });
  }
  location.reload();
}
