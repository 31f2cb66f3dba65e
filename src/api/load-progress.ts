// How far loading has come, in one shape for downloads and for reading weights.
import type { DownloadProgress } from "../sources/hub-options.ts";

/** How far loading has come. */
export interface LoadProgress {
  /** `download`: files come from a model hub into the cache. `load`: the checkpoint is read and packed. */
  readonly phase: "download" | "load";
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** While downloading: which file. */
  readonly file?: string;
  /** While downloading: the rate of the last seconds. */
  readonly bytesPerSecond?: number;
  /** While downloading, once there is a rate. */
  readonly secondsLeft?: number | undefined;
}

/** Downloads as a phase of loading. */
export function reportDownload(
  onProgress: ((progress: LoadProgress) => void) | undefined,
): ((progress: DownloadProgress) => void) | undefined {
  return onProgress && ((progress) => onProgress({ phase: "download", ...progress }));
}
