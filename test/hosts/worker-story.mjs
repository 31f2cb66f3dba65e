// What the worker API promises, told once for every host: everything of a model through a worker, while this side stays awake.

const QUESTION = "### Question: What does Daxpel carry?\n### Answer:";

/** @returns what happened, as data for the test to judge */
export async function tellWorkerStory(createTureenWorker, open) {
  const found = {};
  const worker = createTureenWorker();
  let progress = 0;
  const model = await worker.loadModel(await open("base"), {
    contextLength: 256,
    onProgress: ({ bytesDone }) => {
      progress = bytesDone;
    },
  });
  for (const name of ["knowledge", "format"]) {
    await model.loadAdapter(await open(`adapters/${name}`), { name });
  }
  found.backend = (await model.info).backend;
  found.adapters = (await model.adapters).map(({ name }) => name);

  const soup = await model.soup({ knowledge: 1, format: 1 });
  let text = "";
  for await (const piece of model.generate(QUESTION, { soup })) text += piece;
  Object.assign(found, { text, progress });
  await soup.set("knowledge", 0.4);
  found.weights = await soup.weights;
  found.logits = Array.from(await model.logits([1, 2, 3], { soup })).length;
  found.encoded = await (await model.tokenizer).encode("a b");

  found.cache = Array.isArray(await (await worker.openHubCache())?.list());
  const session = await model.createSession({ length: 64 });
  await model.generate(QUESTION, { soup, session, maxTokens: 4 }).result();
  const again = await model.generate(QUESTION, { soup, session, maxTokens: 4 }).result();
  found.cachedTokens = again.timings.cachedTokens > 0;
  await session.dispose();

  found.error = await model.soup({ nope: 1 }).catch(describeError);

  // A long text, aborted after a while; this side's clock must not stand still meanwhile.
  const controller = new AbortController();
  let ticks = 0;
  const clock = setInterval(() => ticks++, 5);
  let chunks = 0;
  const bias = Object.fromEntries(Array.from({ length: 4 }, (_, id) => [id, -100]));
  const long = model.generate([5, 6, 7], {
    soup: { format: 1 },
    temperature: 1,
    seed: 1,
    maxTokens: 240,
    logitBias: bias,
    signal: controller.signal,
  });
  for await (const _ of long.chunks()) {
    if (++chunks === 50) controller.abort("enough");
  }
  clearInterval(clock);
  found.aborted = { ...(await long.result()), ticks, chunks };
  // Leaving a loop early ends the text and leaves the model usable.
  for await (const _ of model.generate([5, 6, 7], { maxTokens: 240, logitBias: bias })) break;

  const files = {};
  await soup.save(
    {
      name: "sink",
      async write(path, content) {
        let size = 0;
        for await (const piece of content) size += piece.byteLength;
        files[path] = size;
      },
    },
    { format: "peft" },
  );
  found.saved = Object.keys(files).sort();
  await model.dispose();
  found.disposed = await model.logits([1]).catch(describeError);

  // Bytes move into the worker when asked to; threads and memory end with it.
  worker.terminate();
  found.terminated = await worker.loadModel(await open("base")).catch(describeError);
  const missing = createTureenWorker({ url: new URL("nowhere.mjs", import.meta.url) });
  found.noScript = await missing.loadModel(await open("base")).catch(describeError);
  missing.terminate();
  return found;
}

function describeError({ name, code, message, details }) {
  return { name, code, message, details };
}
