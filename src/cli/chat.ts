// tureen chat: a conversation in the terminal. The session keeps the computed beginning of the conversation.
import { createInterface, type Interface } from "node:readline";
import type { Model } from "../api/model.ts";
import { TureenError } from "../errors.ts";
import type { GenerateOptions } from "../generate/options.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import type { Command } from "./command.ts";
import {
  MODEL_FLAGS,
  MODEL_HELP,
  type OpenedModel,
  openModel,
  SAMPLING_FLAGS,
  SAMPLING_HELP,
  samplingOptions,
} from "./options.ts";
import { note, print } from "./output.ts";
import { parseWeights, textFlag, UsageError } from "./usage.ts";

const IN_CHAT = `/soup NAME=W,...   change the weights; the conversation goes on under the new ones
/reset             forget the conversation
/quit              end (or Ctrl-D); Ctrl-C stops an answer`;

export const chatCommand: Command = {
  name: "chat",
  summary: "talk with a model; the soup can be changed while it runs",
  help: `Usage: tureen chat --model DIR [options]

${IN_CHAT}

  --system TEXT           a system message
${SAMPLING_HELP}
${MODEL_HELP}`,
  flags: { ...MODEL_FLAGS, ...SAMPLING_FLAGS, system: { type: "string" } },

  async run(flags) {
    const sampling = samplingOptions(flags);
    const opened = await openModel(flags);
    try {
      opened.model.tokenize([{ role: "user", content: "" }]); // fails early without a chat template
      const { name, build, threads } = opened.model.info.backend;
      note(`${name} ${build}, ${threads} threads\n${IN_CHAT}\n`);
      await new Chat(opened, sampling, textFlag(flags, "system")).run();
    } finally {
      await opened.model.dispose();
    }
  },
};

class Chat {
  readonly #model: Model;
  readonly #sampling: GenerateOptions;
  readonly #system: readonly ChatMessage[];
  #soup: OpenedModel["soup"];
  #messages: ChatMessage[] = [];
  /** Of the answer that is being generated. */
  #abort: AbortController | undefined;

  constructor({ model, soup }: OpenedModel, sampling: GenerateOptions, system: string | undefined) {
    this.#model = model;
    this.#soup = soup;
    this.#sampling = sampling;
    this.#system = system === undefined ? [] : [{ role: "system", content: system }];
  }

  async run(): Promise<void> {
    const terminal = process.stdin.isTTY === true;
    const lines = createInterface({ input: process.stdin, output: process.stderr, terminal });
    lines.on("SIGINT", () => (this.#abort === undefined ? lines.close() : this.#abort.abort()));
    lines.setPrompt(terminal ? "> " : "");
    const session = this.#model.createSession();
    lines.prompt();
    for await (const line of lines) {
      if (line.trim() === "/quit") break;
      await this.#handle(line, session, lines);
      lines.prompt();
    }
    lines.close();
    session.dispose();
  }

  async #handle(
    line: string,
    session: ReturnType<Model["createSession"]>,
    lines: Interface,
  ): Promise<void> {
    const text = line.trim();
    try {
      if (text === "") return;
      if (text === "/reset") this.#messages = [];
      else if (text.startsWith("/soup ")) this.#setSoup(text.slice(6));
      else if (text.startsWith("/")) note(IN_CHAT);
      else await this.#answer(text, session);
    } catch (error) {
      const known = error instanceof TureenError || error instanceof UsageError;
      if (!known) {
        lines.close();
        throw error;
      }
      note(error.message);
    }
  }

  #setSoup(text: string): void {
    const weights = parseWeights(text, "/soup");
    this.#soup ??= this.#model.soup();
    for (const [name, weight] of Object.entries(weights)) this.#soup.set(name, weight);
  }

  async #answer(content: string, session: ReturnType<Model["createSession"]>): Promise<void> {
    const messages = [...this.#messages, { role: "user", content }];
    this.#abort = new AbortController();
    try {
      const { signal } = this.#abort;
      const options = { ...this.#sampling, soup: this.#soup, session, signal };
      const answer = this.#model.generate([...this.#system, ...messages], options);
      for await (const piece of answer) process.stdout.write(piece);
      print("");
      const { text } = await answer.result();
      this.#messages = [...messages, { role: "assistant", content: text }];
    } finally {
      this.#abort = undefined;
    }
  }
}
