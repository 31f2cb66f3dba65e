// Prefill and decode of whole models, without adapters and with two; also what loading takes.
import { measureInTurn } from "../measure.mjs";

/** @param {object} bench { options, notebook, contenders } */
export async function measureGeneration({ options, notebook, contenders }) {
  const { shape, quick } = options;
  const [short, long, decode] = quick ? [16, 32, 5] : [128, 512, 33];
  for (const threads of options.threads) {
    for (const type of options.types) {
      const testCase = { shape, type, threads, contextLength: long + decode + 16 };
      const started = contenders.map((it) => ({ ...it, start: () => it.start(testCase) }));
      const where = `${shape}, ${type}, ${threads} thread${threads > 1 ? "s" : ""}`;
      await measureInTurn(notebook, where, started, options.rounds, async (engine, it, add) => {
        for (const adapters of it.adapters ? [0, 2] : [0]) {
          const key = { section: "generation", ...testCase, adapters };
          delete key.contextLength;
          const speed = await engine.run({ prompt: short, decode, adapters });
          add({ ...key, metric: "prefill 128" }, speed.prefill);
          add({ ...key, metric: "decode" }, speed.decode);
          if (it.slow) continue;
          const { prefill } = await engine.run({ prompt: long, decode: 1, adapters });
          add({ ...key, metric: "prefill 512" }, prefill);
        }
      });
    }
  }
}

/** Decoding behind a long context, over decoding behind a short one. */
export async function measureContext({ options, notebook, contenders }) {
  const { shape, quick } = options;
  const [short, long] = quick ? [16, 256] : [128, 4000];
  const threads = Math.max(...options.threads);
  const type = options.types.includes("q4") ? "q4" : options.types[0];
  const testCase = { shape, type, threads, contextLength: long + 40 };
  const chosen = contenders
    .filter(({ name }) => name === "tureen" || name === "llama.cpp")
    .map((it) => ({ ...it, start: () => it.start(testCase) }));
  const where = `${shape}, ${type}, ${threads} threads, context of ${long}`;
  const rounds = Math.min(options.rounds, 2); // the long prompt takes minutes with a large model
  await measureInTurn(notebook, where, chosen, rounds, async (engine, _, add, number) => {
    for (const prompt of number === 0 ? [short] : [short, long]) {
      const { decode } = await engine.run({ prompt, decode: 17, adapters: 0 });
      const metric = `decode at ${prompt === short ? 128 : 4000}`;
      add({ section: "context", shape, type, threads, metric }, decode);
    }
  });
}

/** Each round loads anew: time until ready, and the most memory that the process ever had. */
export async function measureLoad({ options, notebook, contenders }) {
  const { shape } = options;
  const chosen = contenders.filter(({ name }) => name === "tureen" || name === "llama.cpp");
  for (const type of options.types) {
    const testCase = { shape, type, threads: Math.max(...options.threads), contextLength: 256 };
    for (let round = 0; round <= Math.min(3, options.rounds); round++) {
      const ends = await measureInTurn(
        notebook,
        `loading ${shape}, ${type}`,
        chosen.map((it) => ({ ...it, start: () => it.start(testCase) })),
        0,
        async (engine, { name }) => {
          await engine.run({ prompt: 16, decode: 2, adapters: 0 });
          const key = { section: "load", contender: name, shape, type };
          if (round > 0) notebook.add({ ...key, metric: "load ms" }, engine.info.loadMs);
          if (engine.info.weightBytes !== undefined && round === 1) {
            notebook.add({ ...key, metric: "weight bytes" }, engine.info.weightBytes);
          }
        },
      );
      for (const [contender, { peakBytes }] of ends) {
        if (peakBytes === undefined || round === 0) continue;
        const key = { section: "load", contender, shape, type, metric: "peak bytes" };
        notebook.add(key, peakBytes);
      }
    }
  }
}
