// The figures that Tureen is held to, each a number with a target, derived from a run's values. Which are missing is said too.
import { find, type Results, type Row } from "./results.ts";
import { median, ratioOf, type Spread } from "./statistics.ts";

export interface Figure {
  readonly name: string;
  readonly target: number;
  /** Whether the target is a floor or a ceiling. */
  readonly better: "more" | "less";
  readonly unit: "×" | "%" | "µs" | "bytes";
  /** `undefined`: not measured in this run */
  readonly measured: Spread | undefined;
}

type Values = readonly number[] | undefined;

const THREADS = [1, 2];
const over = (a: Values, b: Values): Spread | undefined => (a && b ? ratioOf(a, b) : undefined);
const scale = (values: Values, factor: number): Values => values?.map((value) => value * factor);

/** @param subject the contender whose figures these are: `tureen`, or it in another host or build */
export function deriveFigures(results: Results, subject = "tureen"): Figure[] {
  const speed = (contender: string, wanted: Partial<Row>): Values =>
    find(results, { section: "generation", contender, ...wanted });
  const own = (wanted: Partial<Row>): Values => speed(subject, wanted);
  const native = (wanted: Partial<Row>): Values => speed("llama.cpp", wanted);
  const figures: Figure[] = [];
  const atLeast = (target: number, name: string, measured: Spread | undefined): void => {
    figures.push({ name, target, better: "more", unit: "×", measured });
  };

  for (const type of ["q8", "q4"]) {
    const wanted = { metric: "decode", type, threads: 1, adapters: 0 };
    atLeast(1, `decode ${type}, 1 thread, over llama.cpp`, over(own(wanted), native(wanted)));
  }
  for (const threads of THREADS) {
    for (const type of ["q8", "q4"]) {
      const wanted = { metric: "decode", type, threads, adapters: 2 };
      const name = `decode ${type}, two adapters, ${count(threads)}, over llama.cpp with the same`;
      atLeast(threads === 1 ? 1.4 : 1.6, name, over(own(wanted), native(wanted)));
    }
  }
  for (const type of ["q8", "q4"]) {
    const wanted = { metric: "prefill 512", type, threads: 1, adapters: 0 };
    atLeast(
      0.4,
      `prefill 512 ${type}, 1 thread, over llama.cpp`,
      over(own(wanted), native(wanted)),
    );
  }
  for (const threads of THREADS) {
    for (const [metric, target] of [
      ["prefill 128", 4],
      ["decode", 2.5],
    ] as const) {
      for (const type of ["q8", "q4"]) {
        const wanted = { metric, type, threads, adapters: 0 };
        const name = `${metric} ${type}, ${count(threads)}, over the better wllama`;
        const peers = ["wllama 2", "wllama 3"].map((peer) => speed(peer, wanted));
        atLeast(target, name, over(own(wanted), better(peers)));
      }
    }
  }
  figures.push(...rooflineFigures(results, own));
  figures.push(...adapterFigures(own));
  figures.push(...scalingFigures(own));
  figures.push(...otherFigures(results, subject));
  return figures;
}

function rooflineFigures(results: Results, own: (wanted: Partial<Row>) => Values): Figure[] {
  const ceiling = (metric: string): Values =>
    find(results, { section: "kernels", contender: "ceilings", threads: 1, metric });
  const perToken = 2e-9 * results.options.linearWeights; // G operations; the head runs once per prompt
  const weightBytes = find(results, {
    section: "load",
    contender: "tureen",
    type: "q8",
    metric: "weight bytes",
  });
  const decode = own({ metric: "decode", type: "q8", threads: 1, adapters: 0 });
  const read = weightBytes && scale(decode, 1e-9 * weightBytes[0]!);
  const work = (type: string): Values =>
    scale(own({ metric: "prefill 512", type, threads: 1, adapters: 0 }), perToken);
  const figure = (target: number, name: string, measured: Spread | undefined): Figure => {
    return { name, target, better: "more", unit: "×", measured };
  };
  return [
    figure(0.8, "decode q8, bytes/s over read bandwidth, 1 thread", over(read, ceiling("read"))),
    figure(0.75, "prefill 512 f32, GFLOP/s over the ceiling", over(work("f32"), ceiling("f32"))),
    figure(
      0.6,
      "prefill 512 q8, GOP/s over the int8 ceiling (widening)",
      over(work("q8"), ceiling("i8 widening")),
    ),
    figure(
      0.6,
      "prefill 512 q4, GOP/s over the int8 ceiling (widening)",
      over(work("q4"), ceiling("i8 widening")),
    ),
  ];
}

function adapterFigures(own: (wanted: Partial<Row>) => Values): Figure[] {
  return (
    [
      ["decode", 8],
      ["prefill 512", 12],
    ] as const
  ).flatMap(([metric, target]) =>
    ["q8", "q4"].map((type): Figure => {
      const speed = (adapters: number): Values => own({ metric, type, threads: 1, adapters });
      const slower = over(speed(0), speed(2));
      const measured = slower && {
        median: 100 * (slower.median - 1),
        min: 100 * (slower.min - 1),
        max: 100 * (slower.max - 1),
      };
      const name = `cost of two live adapters: ${metric} ${type}, 1 thread`;
      return { name, target, better: "less", unit: "%", measured };
    }),
  );
}

function scalingFigures(own: (wanted: Partial<Row>) => Values): Figure[] {
  return (
    [
      ["prefill 512", 1.85],
      ["decode", 1.3],
    ] as const
  ).flatMap(([metric, target]) =>
    ["q8", "q4"].map((type): Figure => {
      const speed = (threads: number): Values => own({ metric, type, threads, adapters: 0 });
      const name = `${metric} ${type}, 2 threads over 1`;
      // Not side by side in time, so the ratio of the medians is all there is.
      const [two, one] = [speed(2), speed(1)];
      const ratio = two && one ? median(two) / median(one) : undefined;
      const measured = ratio === undefined ? undefined : { median: ratio, min: ratio, max: ratio };
      return { name, target, better: "more", unit: "×", measured };
    }),
  );
}

function otherFigures(results: Results, contender: string): Figure[] {
  const own = (wanted: Partial<Row>): Values => find(results, { contender, ...wanted });
  const soup = (metric: string): Spread | undefined => {
    const values = own({ section: "soup", metric });
    return (
      values &&
      ratioOf(
        values,
        values.map(() => 1),
      )
    );
  };
  const batch = (type: string): Spread | undefined => {
    const rows = (n: number): Values =>
      own({ section: "batch", type, threads: 1, metric: `sequences: ${n}` });
    return over(rows(8), rows(1));
  };
  const context = (n: number): Values => own({ section: "context", metric: `decode at ${n}` });
  const download = (name: string): Values =>
    find(results, { section: "download", contender: name, metric: "gzip" });
  const mine = download(contender);
  // Of a large model: a small one's cache outweighs its weights long before that.
  const longContext: Figure = {
    name: "q4, decode at 4000 tokens over at 128",
    target: 0.6,
    better: "more",
    unit: "×",
    measured: over(context(4000), context(128)),
  };
  return [
    {
      name: "re-weighting a soup of two adapters",
      target: 50,
      better: "less",
      unit: "µs",
      measured: soup("us"),
    },
    {
      name: "  what it leaves on the heap",
      target: 1,
      better: "less",
      unit: "bytes",
      measured: soup("bytes"),
    },
    ...["q8", "q4", "f32"].map(
      (type): Figure => ({
        name: `8 sequences, 8 soups, ${type}, 1 thread, over one sequence`,
        target: 4,
        better: "more",
        unit: "×",
        measured: batch(type),
      }),
    ),
    ...(results.options.shape === "llama-3.2-1b" ? [longContext] : []),
    ...["wllama-2", "wllama-3", "onnxruntime-web"].map(
      (peer): Figure => ({
        name: `download (JS + wasm, gzip) over ${peer}'s`,
        target: 0.1,
        better: "less",
        unit: "×",
        measured: over(mine, download(peer)),
      }),
    ),
  ];
}

function better(candidates: readonly Values[]): Values {
  const measured = candidates.filter((values) => values !== undefined);
  return measured.sort((a, b) => median(b) - median(a))[0];
}

function count(threads: number): string {
  return threads === 1 ? "1 thread" : `${threads} threads`;
}
