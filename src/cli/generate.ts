// tureen generate: one text, streamed.

import type { GeneratedText, Generation } from "../api/generation.ts";
import type { Model } from "../api/model.ts";
import type { Prompt } from "../api/text-tools.ts";
import type { Soup } from "../soup/soup.ts";
import type { Command } from "./command.ts";
import {
  MODEL_FLAGS,
  MODEL_HELP,
  openModel,
  SAMPLING_FLAGS,
  SAMPLING_HELP,
  samplingOptions,
} from "./options.ts";
import { note, print, printJson, round } from "./output.ts";
import { type Flags, parseIds, textFlag, UsageError } from "./usage.ts";

export const generateCommand: Command = {
  name: "generate",
  summary: "continue a text, or answer a message",
  help: `Usage: tureen generate --model DIR [options] PROMPT
Without PROMPT, the prompt is read from standard input.

  --chat                  PROMPT is a user's message, for the model's chat template
  --system TEXT           a system message before it
  --ids 1,2,3             the prompt as token ids
  --json                  print { text, tokenIds, promptTokenIds, finishReason, soup, backend, timings }
${SAMPLING_HELP}
${MODEL_HELP}`,
  takesArguments: true,
  flags: {
    ...MODEL_FLAGS,
    ...SAMPLING_FLAGS,
    prompt: { type: "string" },
    chat: { type: "boolean" },
    system: { type: "string" },
    ids: { type: "string" },
    json: { type: "boolean" },
  },

  async run(flags, positionals) {
    const sampling = samplingOptions(flags);
    const prompt = await readPrompt(flags, positionals);
    const { model, soup, loadMs } = await openModel(flags);
    try {
      const generation = model.generate(prompt, { ...sampling, soup });
      const result = flags.json === true ? await generation.result() : await stream(generation);
      if (flags.json === true) printJson(toJson(result, model, soup, loadMs));
      else noteTimings(result, model, loadMs);
    } finally {
      await model.dispose();
    }
  },
};

async function stream(generation: Generation): Promise<GeneratedText> {
  for await (const text of generation) process.stdout.write(text);
  print("");
  return generation.result();
}

async function readPrompt(flags: Flags, positionals: readonly string[]): Promise<Prompt> {
  const ids = textFlag(flags, "ids");
  const given =
    textFlag(flags, "prompt") ?? (positionals.length > 0 ? positionals.join(" ") : undefined);
  if (ids !== undefined) {
    if (given !== undefined) throw new UsageError("give a prompt or --ids, not both");
    return parseIds(ids, "--ids");
  }
  const text = given ?? (await readStdin());
  const system = textFlag(flags, "system");
  if (flags.chat !== true && system === undefined) return text;
  const message = { role: "user", content: text };
  return system === undefined ? [message] : [{ role: "system", content: system }, message];
}

async function readStdin(): Promise<string> {
  if (process.stdin.isTTY) throw new UsageError("a prompt is missing");
  process.stdin.setEncoding("utf8");
  let text = "";
  for await (const piece of process.stdin) text += piece;
  return text.replace(/\r?\n$/, "");
}

/** The shape of `--json`. */
function toJson(
  result: GeneratedText,
  model: Model,
  soup: Soup | undefined,
  loadMs: number,
): unknown {
  const { text, tokenIds, promptTokenIds, finishReason, seed, timings } = result;
  return {
    text,
    tokenIds,
    promptTokenIds,
    finishReason,
    seed,
    soup: soup?.weights ?? {},
    backend: model.info.backend,
    timings: {
      loadMs: round(loadMs),
      prefillTokensPerSecond: round(timings.prefillTokensPerSecond),
      decodeTokensPerSecond: round(timings.decodeTokensPerSecond),
    },
  };
}

function noteTimings({ timings, finishReason }: GeneratedText, model: Model, loadMs: number): void {
  const { name, build, threads } = model.info.backend;
  note(
    `${name} ${build}, ${threads} ${threads === 1 ? "thread" : "threads"} | loaded in ${loadMs.toFixed(0)} ms | ` +
      `prefill ${timings.prefillTokensPerSecond.toFixed(0)} tokens/s, ` +
      `decode ${timings.decodeTokensPerSecond.toFixed(0)} tokens/s | ended: ${finishReason}`,
  );
}
