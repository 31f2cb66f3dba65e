// Single kernels: Tureen's beside the ceilings of the machine, and beside ONNX Runtime's.
import { startCeilings, startOrtNode, startOrtWeb, startTureenProducts } from "../contenders.mjs";
import { SHAPES } from "../files.mjs";
import { measureInTurn } from "../measure.mjs";

/** Every kernel on real layer shapes. Ceilings and kernels take turns, so that a ratio compares one state of the machine. */
export async function measureKernels({ options, notebook }) {
  const config = SHAPES[options.shape];
  const { hidden_size: hidden, intermediate_size: ffn, vocab_size: vocabulary } = config;
  const products = options.types.flatMap((type) => [
    ...(options.quick ? [1, 32] : [1, 4, 128, 512]).flatMap((tokens) => [
      { type, rows: ffn, cols: hidden, tokens, cold: tokens < 8 },
      { type, rows: hidden, cols: ffn, tokens, cold: tokens < 8 },
    ]),
    { type, rows: vocabulary, cols: hidden, tokens: 1, cold: true },
  ]);
  const heads = config.num_attention_heads;
  const geometry = {
    heads,
    kvHeads: config.num_key_value_heads,
    headDim: hidden / heads,
  };
  const attentions = [
    { ...geometry, position: 511, tokens: 1 },
    { ...geometry, position: 3999, tokens: 1 },
    { ...geometry, position: 0, tokens: 512 },
  ];
  for (const threads of options.threads) {
    const builds = options.hosts.includes("baseline") ? ["relaxed", "baseline"] : ["relaxed"];
    const contenders = [
      { name: "ceilings", start: startCeilings },
      ...builds.map((build) => ({
        name: build === "relaxed" ? "tureen" : "tureen, baseline build",
        start: () => startTureenProducts({ dist: options.dist, threads, build }),
      })),
    ];
    const where = `kernels, ${threads} threads`;
    const rounds = Math.min(options.rounds, 3);
    await measureInTurn(notebook, where, contenders, rounds, async (engine, { name }, add) => {
      const section = "kernels";
      if (name === "ceilings") {
        for (const [metric, value] of Object.entries(await engine.run({ threads }))) {
          add({ section, threads, metric }, value);
        }
        return;
      }
      for (const task of products) {
        const { ms, bytes } = await engine.run(task);
        const { type, rows, cols, tokens } = task;
        const key = { section, threads, type, kernel: `linear ${rows} × ${cols}`, tokens };
        add({ ...key, metric: "G/s" }, (2e-6 * rows * cols * tokens) / ms);
        add({ ...key, metric: "GB/s" }, (1e-6 * bytes) / ms);
      }
      for (const attention of attentions) {
        const { ms, bytes } = await engine.run({ attention });
        const { position, tokens } = attention;
        const seen = tokens * (position + (tokens + 1) / 2); // keys, summed over the tokens
        const kernel = `attention, ${position + tokens} positions`;
        const key = { section, threads, type: "f32", kernel, tokens };
        add({ ...key, metric: "G/s" }, (4e-6 * seen * hidden) / ms);
        add({ ...key, metric: "GB/s" }, (1e-6 * bytes) / ms);
      }
    });
  }
}

/** The same products in ONNX Runtime. */
export async function measureProducts({ options, notebook }) {
  const { hidden_size: hidden, intermediate_size: ffn, vocab_size } = SHAPES[options.shape];
  const { dist, peers, quick } = options;
  for (const threads of options.threads) {
    const contenders = [
      { name: "tureen", start: () => startTureenProducts({ dist, threads }) },
      { name: "onnxruntime-node", start: () => startOrtNode({ threads }) },
      { name: "onnxruntime-web", start: () => startOrtWeb({ dist, threads }) },
    ].filter(({ name }) => name === "tureen" || peers.includes(name));
    const where = `products, ${threads} threads`;
    await measureInTurn(
      notebook,
      where,
      contenders,
      Math.min(options.rounds, 3),
      async (engine, _, add) => {
        for (const type of options.types) {
          for (const [rows, cols, tokens] of [
            [ffn, hidden, quick ? 16 : 128],
            [hidden, ffn, quick ? 16 : 128],
            [vocab_size, hidden, 1],
          ]) {
            const { ms } = await engine.run({ type, rows, cols, tokens, cold: false });
            const kernel = `${rows} × ${cols}`;
            const key = { section: "products", threads, type, kernel, tokens, metric: "G/s" };
            add(key, (2e-6 * rows * cols * tokens) / ms);
          }
        }
      },
    );
  }
}
