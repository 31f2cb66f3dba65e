import { run } from "./run.mjs";

await run(self.location.search, postMessage);
