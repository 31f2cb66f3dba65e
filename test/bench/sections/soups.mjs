// What only Tureen has: several sequences with several soups in one pass, and soups that change.
import { measureInTurn } from "../measure.mjs";

const SEQUENCES = 8;

/** One sequence, then eight of different soups at once. */
export async function measureBatch({ options, notebook, contenders }) {
  const { shape, quick } = options;
  for (const threads of options.threads) {
    for (const type of options.types) {
      const testCase = { shape, type, threads, contextLength: 128 };
      const where = `${shape}, ${type}, ${threads} threads, ${SEQUENCES} sequences`;
      const rounds = Math.min(options.rounds, 3);
      await measureInTurn(
        notebook,
        where,
        own(contenders, testCase),
        rounds,
        async (engine, _, add) => {
          for (const sequences of [1, SEQUENCES]) {
            const { decode } = await engine.run({
              kind: "batch",
              sequences,
              decode: quick ? 4 : 32,
            });
            add(
              { section: "batch", shape, type, threads, metric: `sequences: ${sequences}` },
              decode,
            );
          }
        },
      );
    }
  }
}

export async function measureSoup({ options, notebook, contenders }) {
  const { shape, types } = options;
  const testCase = { shape, type: types[0], threads: 1, contextLength: 64 };
  const mine = own(contenders, testCase);
  await measureInTurn(
    notebook,
    "re-weighting a soup",
    mine,
    options.rounds,
    async (engine, _, add) => {
      const { us, bytes } = await engine.run({ kind: "soup", repeat: 1_000_000 });
      add({ section: "soup", shape, metric: "us" }, us);
      if (Number.isFinite(bytes)) add({ section: "soup", shape, metric: "bytes" }, bytes);
    },
  );
}

function own(contenders, testCase) {
  return contenders
    .filter(({ name }) => name.startsWith("tureen"))
    .map((it) => ({ ...it, start: () => it.start(testCase) }));
}
