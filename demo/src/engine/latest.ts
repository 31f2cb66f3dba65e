// Work that only matters in its newest form: starting it again ends the run before.

export class Latest {
  #controller = new AbortController();
  #last: Promise<unknown> = Promise.resolve();

  /** Runs the task when the run before has ended, which is told to. Superseded tasks may never start. */
  run(task: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.#controller.abort();
    const controller = new AbortController();
    this.#controller = controller;
    const { signal } = controller;
    const next = this.#last.then(async () => {
      if (!signal.aborted) await task(signal);
    });
    this.#last = next.catch(() => undefined);
    return next;
  }

  stop(): void {
    this.#controller.abort();
  }
}
