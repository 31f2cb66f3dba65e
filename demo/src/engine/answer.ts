// One answer being written by one soup: text as it comes, verdict and timings when it is done.
import { type Signal, signal } from "@preact/signals";
import type { GeneratedText } from "tureen";
import type { RemoteModel, RemoteSoup } from "tureen/worker";
import { Latest } from "./latest.ts";
import { judge, MAX_TOKENS, type Question, toPrompt, type Verdict } from "./questions.ts";

export interface AnswerState {
  readonly text: string;
  readonly verdict: Verdict | undefined;
  readonly isWriting: boolean;
  /** From asking until the last token. */
  readonly ms?: number;
}

const EMPTY: AnswerState = { text: "", verdict: undefined, isWriting: false };

export class Answer {
  readonly state: Signal<AnswerState> = signal(EMPTY);
  readonly problem: Signal<unknown> = signal(undefined);
  readonly #latest = new Latest();

  /** @param question the noted one of that text, if there is one */
  ask(
    model: RemoteModel,
    text: string,
    question: Question | undefined,
    soup: RemoteSoup | undefined,
  ): Promise<void> {
    // What was written stays until there is something new.
    this.state.value = { ...this.state.value, isWriting: true };
    return this.#latest.run(async (signal) => {
      this.problem.value = undefined;
      try {
        await this.#write(model, text, question, soup, signal);
      } catch (error) {
        if (signal.aborted) return;
        this.problem.value = error;
        this.state.value = EMPTY;
      }
    });
  }

  /** What is written stays. */
  stop(): void {
    this.#latest.stop();
    this.state.value = { ...this.state.value, isWriting: false };
  }

  async #write(
    model: RemoteModel,
    text: string,
    question: Question | undefined,
    soup: RemoteSoup | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const start = performance.now();
    const options = { maxTokens: MAX_TOKENS, signal, ...(soup && { soup }) };
    const generation = model.generate(toPrompt(text), options);
    let written = "";
    for await (const piece of generation) {
      written += piece;
      if (signal.aborted) return;
      this.state.value = { text: written, verdict: undefined, isWriting: true };
    }
    const { finishReason } = await generation.result();
    if (signal.aborted) return;
    const verdict = judge(question, written, finishReason === "stop");
    const ms = performance.now() - start;
    this.state.value = { text: written, verdict, isWriting: false, ms };
  }
}

/** How many of the questions a soup answers, to the letter. */
export async function countRight(
  model: RemoteModel,
  questions: readonly Question[],
  soup: RemoteSoup | undefined,
  signal: AbortSignal,
  onProgress: (asked: number, right: number) => void,
): Promise<number> {
  let right = 0;
  for (const [i, question] of questions.entries()) {
    const options = { maxTokens: MAX_TOKENS, signal, ...(soup && { soup }) };
    const result: GeneratedText = await model.generate(question.prompt, options).result();
    signal.throwIfAborted();
    if (judge(question, result.text, result.finishReason === "stop") === "right") right++;
    onProgress(i + 1, right);
  }
  return right;
}
