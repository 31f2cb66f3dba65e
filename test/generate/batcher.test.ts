// Who shares a pass with whom: with a decoder that only writes down what it is asked to run.
import { describe, expect, test } from "vitest";
import { RunQueue } from "../../src/api/run-queue.ts";
import type { KvCache } from "../../src/backend/backend.ts";
import { TureenError } from "../../src/errors.ts";
import { Batcher, type Job, type PassRunner } from "../../src/generate/batcher.ts";
import type { PassPart } from "../../src/model/decoder.ts";
import { nextTask } from "../../src/next-task.ts";
import { tinyConfig } from "../support/models.ts";

const { vocabSize } = tinyConfig();

/** Passes as `first token of the part: number of tokens`, logits filled with their token. */
class Recorder implements PassRunner {
  readonly config = tinyConfig();
  readonly chunkSize: number;
  readonly passes: string[][] = [];
  onPass: (() => void) | undefined;
  failure: TureenError | undefined;

  constructor(chunkSize = 64) {
    this.chunkSize = chunkSize;
  }

  check(tokens: readonly number[]): void {
    if (tokens.includes(-1)) throw new TureenError("TOKEN_OUT_OF_RANGE", "refused");
  }

  async run(parts: readonly PassPart[]): Promise<void> {
    this.passes.push(parts.map(({ ids, position }) => `${ids[0]}@${position}:${ids.length}`));
    for (const { ids, logits } of parts) {
      const rows = (logits?.length ?? 0) / vocabSize;
      for (let row = 0; row < rows; row++) {
        logits!.fill(ids[ids.length - rows + row]!, row * vocabSize, (row + 1) * vocabSize);
      }
    }
    await nextTask();
    this.onPass?.();
    if (this.failure !== undefined) throw this.failure;
  }
}

const cache: KvCache = {
  kind: "kv-cache",
  layers: 1,
  kvHeads: 1,
  headDim: 2,
  length: 999,
  nBytes: 0,
};

function job(ids: readonly number[], rows = 1, position = 0): Job {
  const logits = rows === 0 ? undefined : new Float32Array(rows * vocabSize);
  return { ids, position, cache, banks: new Map(), logits };
}

/** A sequence that runs one token after another. */
async function decode(batcher: Batcher, first: number, n: number): Promise<void> {
  const close = batcher.open();
  for (let i = 0; i < n; i++) await batcher.run(() => job([first], 1, i));
  close();
}

describe("batches", () => {
  test("sequences that wait at the same time share a pass, and leave when they are done", async () => {
    const recorder = new Recorder();
    const batcher = new Batcher(recorder, new RunQueue());
    await Promise.all([decode(batcher, 7, 1), decode(batcher, 8, 3), decode(batcher, 9, 2)]);
    expect(recorder.passes).toEqual([["7@0:1", "8@0:1", "9@0:1"], ["8@1:1", "9@1:1"], ["8@2:1"]]);
  });

  test("a long prompt joins in pieces, beside the others' next tokens", async () => {
    const recorder = new Recorder(64);
    const batcher = new Batcher(recorder, new RunQueue());
    const prompt = Array.from({ length: 70 }, (_, i) => i);
    const long = job(prompt, 3);
    await Promise.all([decode(batcher, 50, 4), batcher.run(() => long)]);
    expect(recorder.passes).toEqual([
      ["50@0:1", "0@0:32"],
      ["50@1:1", "32@32:32"],
      ["64@64:6", "50@2:1"],
      ["50@3:1"],
    ]);
    const rows = [67, 68, 69].flatMap((token) => Array.from({ length: vocabSize }, () => token));
    expect(Array.from(long.logits!)).toEqual(rows);
  });

  test("alone, a prompt takes whole passes; logits of all its tokens arrive in pieces", async () => {
    const recorder = new Recorder(32);
    const batcher = new Batcher(recorder, new RunQueue());
    const prompt = Array.from({ length: 70 }, (_, i) => i);
    const all = job(prompt, 70);
    await batcher.run(() => all);
    expect(recorder.passes).toEqual([["0@0:32"], ["32@32:32"], ["64@64:6"]]);
    const expected = prompt.flatMap((id) => Array.from({ length: vocabSize }, () => id));
    expect(Array.from(all.logits!)).toEqual(expected);
  });

  test("more sequences than a pass takes have their turn in order", async () => {
    const recorder = new Recorder(3);
    const batcher = new Batcher(recorder, new RunQueue());
    await Promise.all([1, 2, 3, 4, 5].map((first) => batcher.run(() => job([first]))));
    expect(recorder.passes).toEqual([
      ["1@0:1", "2@0:1", "3@0:1"],
      ["4@0:1", "5@0:1"],
    ]);
  });

  test("a sequence that dawdles is not waited for", async () => {
    const recorder = new Recorder();
    const batcher = new Batcher(recorder, new RunQueue());
    const close = batcher.open(); // never asks for anything
    await decode(batcher, 7, 3);
    close();
    expect(recorder.passes).toEqual([["7@0:1"], ["7@1:1"], ["7@2:1"]]);
  });
});

describe("failures and aborts", () => {
  test("a request that cannot begin, or is refused, fails alone", async () => {
    const recorder = new Recorder();
    const batcher = new Batcher(recorder, new RunQueue());
    const results = await Promise.allSettled([
      batcher.run(() => job([1])),
      batcher.run(() => {
        throw new TureenError("ADAPTER_NOT_FOUND", "gone");
      }),
      batcher.run(() => job([-1])),
      batcher.run(() => job([2]), AbortSignal.abort()),
      batcher.run(() => job([3])),
    ]);
    expect(results.map((r) => (r.status === "fulfilled" ? "ok" : r.reason.code))).toEqual([
      "ok",
      "ADAPTER_NOT_FOUND",
      "TOKEN_OUT_OF_RANGE",
      "ABORTED",
      "ok",
    ]);
    expect(recorder.passes).toEqual([["1@0:1", "3@0:1"]]);
  });

  test("an abort ends a prompt between its pieces", async () => {
    const recorder = new Recorder(16);
    const batcher = new Batcher(recorder, new RunQueue());
    const controller = new AbortController();
    recorder.onPass = () => controller.abort();
    const prompt = Array.from({ length: 64 }, (_, i) => i);
    const aborted = batcher.run(() => job(prompt), controller.signal);
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    expect(recorder.passes.length).toBe(1);
  });

  test("a failed pass fails those that took part; the next one runs", async () => {
    const recorder = new Recorder();
    const batcher = new Batcher(recorder, new RunQueue());
    recorder.failure = new TureenError("BACKEND_FAILED", "a kernel failed");
    const failing = [batcher.run(() => job([1])), batcher.run(() => job([2]))];
    const results = await Promise.allSettled(failing);
    expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    recorder.failure = undefined;
    await batcher.run(() => job([3]));
    expect(recorder.passes).toEqual([["1@0:1", "2@0:1"], ["3@0:1"]]);
  });

  test("a closed queue refuses those that wait", async () => {
    const queue = new RunQueue();
    const batcher = new Batcher(new Recorder(), queue);
    await queue.close();
    await expect(batcher.run(() => job([1]))).rejects.toMatchObject({ code: "DISPOSED" });
  });
});

test("weights change only while no request is under way; those that wait begin after", async () => {
  const recorder = new Recorder(16);
  const queue = new RunQueue();
  const batcher = new Batcher(recorder, queue);
  const events: string[] = [];
  const prompt = Array.from({ length: 40 }, (_, i) => i);
  let change: Promise<void> | undefined;
  let late: Promise<void> | undefined;
  recorder.onPass = () => {
    events.push(`pass ${recorder.passes.length}`);
    if (change !== undefined) return;
    change = queue.run(async () => void events.push("change"));
    late = batcher.run(() => {
      events.push("late begins");
      return job([99]);
    });
  };
  await batcher.run(() => job(prompt));
  await change;
  await late;
  expect(events).toEqual(["pass 1", "pass 2", "pass 3", "change", "late begins", "pass 4"]);
});
