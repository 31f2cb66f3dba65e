// Progress of loading, on stderr, only where a person watches a terminal.
import { type Options, SingleBar } from "cli-progress";
import type { LoadProgress } from "../api/load-model.ts";

const MEBIBYTE = 1024 * 1024;

const STYLE: Options = {
  format: "{task} {bar} {percentage}% | {done}/{size} MiB | {rate} MiB/s | {eta_formatted} left",
  barCompleteChar: "█",
  barIncompleteChar: "░",
  barsize: 24,
  clearOnComplete: true,
  hideCursor: true,
  fps: 10,
  stream: process.stderr,
};

/** A bar, or nothing when stderr is no terminal. */
export interface Progress {
  readonly update: (progress: LoadProgress) => void;
  /** Removes the bar. */
  readonly stop: () => void;
}

export function createProgress(task: string): Progress {
  if (!process.stderr.isTTY) return { update: () => {}, stop: () => {} };
  let bar: SingleBar | undefined;
  const start = performance.now();
  return {
    update({ bytesDone, bytesTotal }) {
      const rate = bytesDone / MEBIBYTE / ((performance.now() - start) / 1000);
      const payload = {
        task,
        done: (bytesDone / MEBIBYTE).toFixed(0),
        size: (bytesTotal / MEBIBYTE).toFixed(0),
        rate: rate.toFixed(0),
      };
      if (bar === undefined) {
        bar = new SingleBar(STYLE);
        bar.start(bytesTotal, bytesDone, payload);
      } else {
        bar.update(bytesDone, payload);
      }
    },
    stop() {
      bar?.stop();
      bar = undefined;
    },
  };
}
