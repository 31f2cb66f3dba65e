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

await openKitchen();
if (kitchen.value !== undefined) await beginTasting(kitchen.value);
await keepOffline(); // after the kitchen: both would fetch at once
