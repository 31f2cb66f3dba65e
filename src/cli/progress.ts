// A bar with rate and time left, on stderr, only where a person watches a terminal.
import { type Options, SingleBar } from "cli-progress";

const STYLE: Options = {
  format:
    "{task} {bar} {percentage}% | {done}/{size} {unit} | {rate} {unit}/s | {eta_formatted} left{remark}",
  barCompleteChar: "█",
  barIncompleteChar: "░",
  barsize: 24,
  clearOnComplete: true,
  hideCursor: true,
  fps: 10,
  stream: process.stderr,
};

/** What is counted. */
export type ProgressUnit = "MiB" | "layers" | "questions" | "steps";

const SCALES: Readonly<Record<ProgressUnit, number>> = {
  MiB: 1024 * 1024,
  layers: 1,
  questions: 1,
  steps: 1,
};

/** A bar, or nothing when stderr is no terminal. */
export interface Progress {
  /** In bytes for MiB, else in units. `remark` stands at the end. */
  readonly update: (done: number, total: number, remark?: string) => void;
  /** Removes the bar. */
  readonly stop: () => void;
}

export function createProgress(task: string, unit: ProgressUnit = "MiB"): Progress {
  if (!process.stderr.isTTY) return { update: () => {}, stop: () => {} };
  let bar: SingleBar | undefined;
  const start = performance.now();
  return {
    update(done, total, remark = "") {
      const scale = SCALES[unit];
      const seconds = (performance.now() - start) / 1000;
      const payload = {
        task,
        unit,
        remark,
        done: (done / scale).toFixed(0),
        size: (total / scale).toFixed(0),
        rate: (done / scale / seconds).toFixed(0),
      };
      if (bar === undefined) {
        bar = new SingleBar(STYLE);
        bar.start(total, done, payload);
      } else {
        bar.setTotal(total); // downloads learn of more files
        bar.update(done, payload);
      }
    },
    stop() {
      bar?.stop();
      bar = undefined;
    },
  };
}
