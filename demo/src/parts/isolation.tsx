// Threads need shared memory, which browsers give to cross-origin isolated pages only. Where the host does not send the two
// headers, a service worker can add them; that is the visitor's choice, off by default.
import { setIsolation, wantsIsolation } from "../engine/offline.ts";

export function Isolation() {
  const isAdded = wantsIsolation();
  const canAdd = "serviceWorker" in navigator && import.meta.env.PROD;
  return (
    <div class="isolation">
      <p class="note">
        {globalThis.crossOriginIsolated
          ? "This page is cross-origin isolated: threads can share memory."
          : "This page is not cross-origin isolated, so there is one thread. Its host would have to send the headers Cross-Origin-Opener-Policy and Cross-Origin-Embedder-Policy."}
      </p>
      {(isAdded || !globalThis.crossOriginIsolated) && canAdd && (
        <label class="switch">
          <input
            type="checkbox"
            role="switch"
            checked={isAdded}
            aria-checked={isAdded}
            onChange={(event) => void setIsolation(event.currentTarget.checked)}
          />
          Let a service worker add them, in this browser only. The page loads again.
        </label>
      )}
    </div>
  );
}
