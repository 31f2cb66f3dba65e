// tureen kitchen: the embedded model shows what a soup is for. One adapter knows facts, the other knows how to answer
// questions; the questions need both.
import { readFile } from "node:fs/promises";
import { loadModel } from "../api/load-model.ts";
import type { Model } from "../api/model.ts";
import type { Soup } from "../soup/soup.ts";
import type { Command } from "./command.ts";
import { loadOptions } from "./options.ts";
import { formatTable, note, print, printJson } from "./output.ts";
import { createProgress } from "./progress.ts";
import { integerFlag } from "./usage.ts";

const KITCHEN = new URL("../../demo/kitchen/", import.meta.url);
const SHOWN = 19; // which question is answered by each
const MAX_TOKENS = 16; // as in the recipe; answers have about 10

export const kitchenCommand: Command = {
  name: "kitchen",
  summary: "the embedded demo: two adapters, one soup, 240 questions",
  help: `Usage: tureen kitchen [options]

  --questions N           ask only the first N of the 240 held-out questions
  --backend, --threads, --quantize   as for generate; one thread by default, the model is small
  --json                  print { questions, backend, rows: [{ name, weights, correct, accuracy }] }`,
  flags: {
    questions: { type: "string" },
    backend: { type: "string" },
    build: { type: "string" },
    threads: { type: "string" },
    quantize: { type: "string" },
    json: { type: "boolean" },
  },

  async run(flags) {
    const all = await readQuestions();
    const questions = all.slice(0, integerFlag(flags, "questions", 1) ?? all.length);
    const start = performance.now();
    const model = await loadModel(new URL("base/", KITCHEN), {
      ...loadOptions(flags),
      threads: integerFlag(flags, "threads", 1) ?? 1,
    });
    try {
      const diners = await prepare(model);
      const { name, build, threads } = model.info.backend;
      note(
        `${name} ${build}, ${threads} ${threads === 1 ? "thread" : "threads"}; ` +
          `loaded in ${(performance.now() - start).toFixed(0)} ms`,
      );
      const rows = [];
      const progress = createCount(questions.length * diners.length);
      for (const diner of diners) {
        let correct = 0;
        for (const question of questions) {
          if (await answers(model, diner.soup, question)) correct++;
          progress.step();
        }
        rows.push({ ...diner, correct, accuracy: (100 * correct) / questions.length });
      }
      progress.stop();
      if (flags.json === true) {
        const shown = rows.map(({ name, soup, correct, accuracy }) => ({
          name,
          weights: soup?.weights ?? {},
          correct,
          accuracy,
        }));
        printJson({ questions: questions.length, backend: model.info.backend, rows: shown });
        return;
      }
      printAccuracy(rows, questions.length);
      await serve(model, diners, all[SHOWN]!);
      note(`${((performance.now() - start) / 1000).toFixed(1)} s in all`);
    } finally {
      await model.dispose();
    }
  },
};

interface Question {
  readonly prompt: string;
  readonly answer: string;
}

/** One row of the table: a way to blend. */
interface Diner {
  readonly name: string;
  readonly blend: string;
  readonly soup: Soup | undefined;
}

async function readQuestions(): Promise<Question[]> {
  const text = await readFile(new URL("data/test_composed.jsonl", KITCHEN), "utf8");
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Question);
}

async function prepare(model: Model): Promise<Diner[]> {
  for (const name of ["knowledge", "format"]) {
    await model.loadAdapter(new URL(`adapters/${name}/`, KITCHEN), { name });
  }
  const learned = await readFile(new URL("soups/learned.json", KITCHEN), "utf8");
  return [
    { name: "base", blend: "", soup: undefined },
    { name: "knowledge adapter", blend: "knowledge 1", soup: model.soup({ knowledge: 1 }) },
    { name: "format adapter", blend: "format 1", soup: model.soup({ format: 1 }) },
    {
      name: "uniform soup",
      blend: "knowledge 1, format 1",
      soup: model.soup({ knowledge: 1, format: 1 }),
    },
    {
      name: "learned soup",
      blend: "one weight per linear layer",
      soup: await model.loadSoup(learned),
    },
  ];
}

/** Exact match, as in the recipe: the text is the answer, and the model ends there. */
async function answers(model: Model, soup: Soup | undefined, question: Question): Promise<boolean> {
  const options = { soup, maxTokens: MAX_TOKENS };
  const { text, finishReason } = await model.generate(question.prompt, options).result();
  return finishReason === "stop" && text === question.answer;
}

function printAccuracy(
  rows: readonly (Diner & { correct: number; accuracy: number })[],
  count: number,
): void {
  const head = ["", "blend", `exact answers of ${count}`, "accuracy"];
  const cells = rows.map(({ name, blend, correct, accuracy }) => [
    name,
    blend,
    correct,
    `${accuracy.toFixed(1)} %`,
  ]);
  print("Questions about robots that only the knowledge adapter has read of,");
  print("in a format that only the format adapter has seen:\n");
  print(formatTable(head, cells));
}

/** One question, answered by each; the last answer as it is generated. */
async function serve(model: Model, diners: readonly Diner[], question: Question): Promise<void> {
  print(`\n${question.prompt}\n`);
  const width = Math.max(...diners.map(({ name }) => name.length)) + 2;
  for (const { name, soup } of diners) {
    process.stdout.write(`${name.padEnd(width)}`);
    for await (const text of model.generate(question.prompt, { soup, maxTokens: MAX_TOKENS })) {
      process.stdout.write(text.replaceAll("\n", "⏎"));
    }
    print("");
  }
}

/** A bar over questions. */
function createCount(total: number): { step: () => void; stop: () => void } {
  const progress = createProgress("asking", "questions");
  let done = 0;
  return {
    step() {
      done++;
      progress.update(done, total);
    },
    stop: progress.stop,
  };
}
