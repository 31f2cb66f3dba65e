// The engine's side of a conversation, wherever it runs: { start }, then any number of { task }, then { close }.

/**
 * An engine module exports `start(options)`, which gives `{ info, run(task), stop() }`.
 * @returns {(message: object) => Promise<{ value?: unknown, failure?: string }>}
 */
export function createResponder() {
  let engine;
  return async ({ start, task, close }) => {
    try {
      if (start !== undefined) {
        engine = await (await import(start.module)).start(start.options);
        return { value: engine.info };
      }
      if (task !== undefined) return { value: await engine.run(task) };
      if (close) await engine?.stop();
      return { value: undefined };
    } catch (error) {
      return { failure: String(error?.stack ?? error) };
    }
  };
}
