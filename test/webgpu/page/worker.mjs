import { run } from "./run.mjs";

postMessage(await run(self.location.search));
