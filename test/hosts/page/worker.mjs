import { runHere } from "./run.mjs";

postMessage(await runHere(location.search));
