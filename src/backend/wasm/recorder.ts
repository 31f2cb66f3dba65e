// What all that records commands works with.
import type { Arena } from "./arena.ts";
import type { CaptureRecorder } from "./capture-recorder.ts";
import type { CommandList } from "./commands.ts";
import type { HandleRegistry } from "./handles.ts";
import type { Scratch } from "./scratch.ts";

export interface Recorder {
  readonly arena: Arena;
  readonly handles: HandleRegistry;
  readonly scratch: Scratch;
  readonly commands: CommandList;
  readonly captures: CaptureRecorder;
  readonly threads: number;
  /** Runs what is recorded. */
  readonly run: () => void;
}
