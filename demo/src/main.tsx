// The page's beginning: draws at once, then opens the kitchen.
import "./style.css";
import { options, render } from "preact";
import { App } from "./app.tsx";
import { kitchen, openKitchen } from "./engine/kitchen.ts";
import { keepOffline } from "./engine/offline.ts";
import { beginTasting } from "./engine/tasting.ts";

// Tokens come faster than frames.
options.debounceRendering = requestAnimationFrame;

const root = document.getElementById("app")!;
root.replaceChildren();
render(<App />, root);

// Another link to this page, put into the address: its soup is another one.
addEventListener("hashchange", () => location.reload());

// A file that is dropped beside the zone for it would take the page's place, and all that is on it.
for (const type of ["dragover", "drop"] as const) {
  addEventListener(type, (event) => {
    if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "none";
  });
}

await openKitchen();
if (kitchen.value !== undefined) await beginTasting(kitchen.value);
await keepOffline(); // after the kitchen: both would fetch at once
