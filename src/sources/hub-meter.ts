// Turns bytes that arrive into progress: totals over all shards of a model, rate, time left. A few reports a second.
import type { DownloadProgress } from "./hub-options.ts";

/** Between reports, in ms. */
const INTERVAL = 100;
/** The rate is that of so many last ms. */
const WINDOW = 5000;

export class DownloadMeter {
  readonly #report: (progress: DownloadProgress) => void;
  readonly #now: () => number;
  #total = 0;
  #done = 0;
  #reported = Number.NEGATIVE_INFINITY;
  /** When how many bytes had come over the network. */
  #samples: { readonly at: number; readonly bytes: number }[] = [];
  #fetched = 0;

  constructor(report: (progress: DownloadProgress) => void, now: () => number = Date.now) {
    this.#report = report;
    this.#now = now;
  }

  /** Announces bytes to come. */
  expect(nBytes: number): void {
    this.#total += nBytes;
  }

  /** Announced bytes that have not arrived. */
  get missing(): number {
    return this.#total - this.#done;
  }

  /** @param isLocal they were here already, which says nothing about the rate */
  add(file: string, nBytes: number, isLocal: boolean): void {
    const now = this.#now();
    if (this.#samples.length === 0) this.#samples.push({ at: now, bytes: this.#fetched });
    this.#done += nBytes;
    if (!isLocal) this.#fetched += nBytes;
    const isEnd = this.#done === this.#total;
    if (now - this.#reported < INTERVAL && !isEnd) return;
    this.#reported = now;
    this.#samples.push({ at: now, bytes: this.#fetched });
    while (this.#samples.length > 2 && now - this.#samples[1]!.at >= WINDOW) this.#samples.shift();
    const { at, bytes } = this.#samples[0]!;
    const rate = now > at ? ((this.#fetched - bytes) / (now - at)) * 1000 : 0;
    this.#report({
      file,
      bytesDone: this.#done,
      bytesTotal: this.#total,
      bytesPerSecond: rate,
      secondsLeft: rate > 0 ? (this.#total - this.#done) / rate : undefined,
    });
  }
}
