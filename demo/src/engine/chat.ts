// A conversation with a brought model. Each answer keeps the weights it was written under. Models without a chat template get
// the text as it is and continue it.
import { type Signal, signal } from "@preact/signals";
import type { GenerationTimings, SoupWeights } from "tureen";
import { type RemoteModel, type RemoteSession, TureenError } from "tureen/worker";

export interface Turn {
  readonly role: "user" | "assistant";
  readonly text: string;
  /** Of answers. */
  readonly weights?: SoupWeights;
  readonly timings?: GenerationTimings;
  readonly ended?: "stop" | "length" | "context" | "abort";
}

export interface ChatOptions {
  readonly weights: SoupWeights;
  readonly temperature: number;
  readonly maxTokens: number;
}

export class Chat {
  readonly turns: Signal<readonly Turn[]> = signal([]);
  readonly isWriting: Signal<boolean> = signal(false);
  readonly problem: Signal<unknown> = signal(undefined);
  /** Whether the model has a chat template. */
  readonly hasTemplate: boolean;
  readonly #model: RemoteModel;
  readonly #session: RemoteSession;
  #controller = new AbortController();

  private constructor(model: RemoteModel, session: RemoteSession, hasTemplate: boolean) {
    this.#model = model;
    this.#session = session;
    this.hasTemplate = hasTemplate;
  }

  static async create(model: RemoteModel): Promise<Chat> {
    const probe = model.tokenize([{ role: "user", content: "Hello" }]);
    const hasTemplate = await probe.then(
      () => true,
      (error: unknown) => {
        // No template, or no tokenizer: whoever then sends text is told.
        const codes: readonly string[] = ["OPTION_INVALID", "TOKENIZER_INVALID"];
        if (error instanceof TureenError && codes.includes(error.code)) return false;
        throw error;
      },
    );
    return new Chat(model, await model.createSession(), hasTemplate);
  }

  async send(text: string, { weights, temperature, maxTokens }: ChatOptions): Promise<void> {
    this.#controller = new AbortController();
    this.problem.value = undefined;
    this.isWriting.value = true;
    const before: readonly Turn[] = [...this.turns.value, { role: "user", text }];
    const show = (turn: Omit<Turn, "role" | "weights">): void => {
      this.turns.value = [...before, { role: "assistant", weights, ...turn }];
    };
    try {
      show({ text: "" });
      const prompt = this.hasTemplate
        ? before.map((turn) => ({ role: turn.role, content: turn.text }))
        : text;
      const generation = this.#model.generate(prompt, {
        soup: weights,
        session: this.#session,
        temperature,
        maxTokens,
        signal: this.#controller.signal,
      });
      let written = "";
      for await (const piece of generation) {
        written += piece;
        show({ text: written });
      }
      const { finishReason, timings } = await generation.result();
      show({ text: written, ended: finishReason, timings });
    } catch (error) {
      this.turns.value = before;
      this.problem.value = error;
    }
    this.isWriting.value = false;
  }

  stop(): void {
    this.#controller.abort();
  }

  clear(): void {
    this.turns.value = [];
  }
}
