// Two models at once, then many loaded and disposed of: memory must come back, in every host.

/**
 * @param measure gives bytes held, where the host tells
 * @returns texts of two models used in turns, and bytes held after some of the rounds
 */
export async function runRounds(
  { loadModel },
  open,
  { rounds = 50, measure = () => 0, ...options } = {},
) {
  const prompt = "### Question: What does Daxpel carry?\n### Answer:";
  const load = async (quantize) => {
    const model = await loadModel(await open("base"), { ...options, quantize });
    for (const name of ["knowledge", "format"]) {
      await model.loadAdapter(await open(`adapters/${name}`), { name });
    }
    return model;
  };
  const [one, two] = await Promise.all([load("none"), load("q8")]);
  const soup = { knowledge: 1, format: 1 };
  const results = [one, two].map((model) => model.generate(prompt, { soup }).result());
  const texts = (await Promise.all(results)).map(({ text }) => text);
  await Promise.all([one.dispose(), two.dispose()]);
  const held = [];
  for (let round = 1; round <= rounds; round++) {
    const model = await load("none");
    await model.generate(prompt, { soup, maxTokens: 2 }).result();
    await model.dispose();
    if (round % 10 === 0) held.push(await measure());
  }
  return { texts, held };
}
