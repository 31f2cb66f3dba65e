// Starts contenders, measures them in turn, keeps what they said. A contender that cannot start, or fails, is a line in the report.
import { interleave } from "./statistics.ts";

const LIMIT_MS = 300_000;

/**
 * One metric of one contender in one case, a value per round.
 * @typedef {{ section: string, contender: string, metric: string, values: number[] } & Record<string, unknown>} Row
 */
export class Notebook {
  /** @type {Row[]} */
  rows = [];
  /** @type {{ contender: string, where: string, reason: string }[]} */
  failures = [];
  /** @type {Record<string, object>} what contenders say of themselves */
  about = {};

  #save;

  /** @param {(pages: Notebook) => Promise<void>} save */
  constructor(save) {
    this.#save = save;
  }

  save() {
    return this.#save(this);
  }

  /** @param {object} key section, contender, metric, and what else tells rows apart */
  add(key, value) {
    const same = (row) => Object.entries(key).every(([name, it]) => row[name] === it);
    const row = this.rows.find(same);
    if (row === undefined) this.rows.push({ ...key, values: [value] });
    else row.values.push(value);
  }

  fail(contender, where, error) {
    const reason = String(error?.message ?? error)
      .split("\n")[0]
      .slice(0, 300);
    if (!this.failures.some((it) => it.contender === contender && it.where === where)) {
      this.failures.push({ contender, where, reason });
    }
    console.error(`  ${contender}: ${reason}`);
  }
}

/**
 * @param {Notebook} notebook
 * @param {string} where for messages
 * @param {readonly { name: string, rounds?: number, start: () => Promise<object> }[]} contenders
 * @param {number} rounds that count; one more comes before
 * @param {(engine: object, contender: object, add: (key: object, value: number) => void, number: number) => Promise<void>} round
 *   `number` 0 is the one that does not count
 */
export async function measureInTurn(notebook, where, contenders, rounds, round) {
  const engines = new Map();
  console.error(where);
  for (const contender of contenders) {
    try {
      const engine = await withinLimit(contender.start());
      engines.set(contender, engine);
      notebook.about[contender.name] ??= engine.info;
    } catch (error) {
      notebook.fail(contender.name, where, error);
    }
  }
  for (const [contender, number] of interleave(contenders, rounds + 1)) {
    const engine = engines.get(contender);
    if (engine === undefined || number > (contender.rounds ?? rounds)) continue;
    try {
      const add = (key, value) => {
        if (number > 0) notebook.add({ contender: contender.name, ...key }, value);
      };
      await withinLimit(round(engine, contender, add, number));
    } catch (error) {
      notebook.fail(contender.name, where, error);
      engines.delete(contender);
      await engine.kill();
    }
  }
  const ends = new Map();
  for (const [contender, engine] of engines) {
    const end = await withinLimit(engine.close()).catch(() => engine.kill());
    ends.set(contender.name, end ?? {});
  }
  await notebook.save();
  return ends;
}

/** An engine that does not answer for so long is not waited for. */
async function withinLimit(promise) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(reject, LIMIT_MS, new Error(`no answer within ${LIMIT_MS / 1000} s`));
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}
