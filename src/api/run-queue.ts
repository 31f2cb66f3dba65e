// One thing at a time: passes through the network share run state, and weights must not change under them.
import { TureenError } from "../errors.ts";

export class RunQueue {
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  /**
   * Runs a task when all earlier ones have ended, well or badly.
   * @throws TureenError `DISPOSED` if the queue was closed before the task's turn
   */
  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(() => {
      if (this.#closed) throw new TureenError("DISPOSED", "the model was disposed");
      return task();
    });
    this.#last = result.catch(() => undefined);
    return result;
  }

  /** Lets the running task end and refuses all others, those waiting included. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
  }
}
