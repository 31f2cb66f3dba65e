// One thing at a time: passes through the network share run state, and weights must not change under them.
import { TureenError } from "../errors.ts";

export class RunQueue {
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;
  #unfinished = 0;

  /** Whether a task waits for the running one to end. */
  get isAwaited(): boolean {
    return this.#closed || this.#unfinished > 1;
  }

  /**
   * Runs a task when all earlier ones have ended, well or badly.
   * @throws TureenError `DISPOSED` if the queue was closed before the task's turn
   */
  run<T>(task: () => Promise<T>): Promise<T> {
    this.#unfinished++;
    const result = this.#last.then(() => {
      if (this.#closed) throw new TureenError("DISPOSED", "the model was disposed");
      return task();
    });
    const finish = (): void => {
      this.#unfinished--;
    };
    this.#last = result.then(finish, finish);
    return result;
  }

  /** Lets the running task end and refuses all others, those waiting included. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
  }
}
