// How far loading has come, in one shape for downloads and for reading weights.
import type { DownloadProgress } from "../sources/hub-options.ts";

/** How far loading has come. */
export interface LoadProgress {
  /** `download`: files come from a model hub, and are packed meanwhile. `load`: what is there is read and packed. */
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

/** Both phases of loading a model, one after the other for whoever watches: packing is news once nothing is left to arrive. */
export function reportLoading(onProgress: ((progress: LoadProgress) => void) | undefined): {
  readonly onDownload: ((progress: DownloadProgress) => void) | undefined;
  readonly onLoad: ((bytesDone: number, bytesTotal: number) => void) | undefined;
} {
  if (onProgress === undefined) return { onDownload: undefined, onLoad: undefined };
  let isArriving = false;
  return {
    onDownload(progress) {
      isArriving = progress.bytesDone < progress.bytesTotal;
      onProgress({ phase: "download", ...progress });
    },
    onLoad(bytesDone, bytesTotal) {
      if (!isArriving) onProgress({ phase: "load", bytesDone, bytesTotal });
    },
  };
}
