// How far a model being written has come, in a file beside its shards, so that an interrupted merge goes on. Owns that file, and
// the rule that a folder which holds a finished model is left alone.
import { readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { TureenError } from "../errors.ts";
import { sha256 } from "../soup/identity.ts";
import type { Shard } from "../soup/write-model.ts";
import { createDirectorySink } from "../sources/directory-sink.ts";
import { once } from "../sources/sink.ts";

const FILE = "tureen-merge.json";
const WEIGHTS = ["model.safetensors", "model.safetensors.index.json"];

interface State {
  readonly key: string;
  readonly finished: readonly string[];
}

export class MergeStore {
  readonly #folder: string;
  readonly #key: string;
  #finished: string[] = [];

  private constructor(folder: string, key: string) {
    this.#folder = folder;
    this.#key = key;
  }

  /**
   * Looks at what is in the folder. Shards of another merge that was interrupted there are removed.
   * @param identity of the merge: everything that decides its bytes
   * @throws TureenError `OPTION_INVALID` if the folder holds a model
   */
  static async open(
    folder: string,
    identity: unknown,
    shards: readonly Shard[],
  ): Promise<MergeStore> {
    const key = await sha256(new TextEncoder().encode(JSON.stringify(identity)));
    const store = new MergeStore(folder, key);
    const state = await store.#read();
    if (state === undefined) await refuseModel(folder);
    else if (state.key === key) await store.#resume(state, shards);
    else await store.#discard(state);
    await store.#write();
    return store;
  }

  /** Shards that need not be written again. */
  get finished(): ReadonlySet<string> {
    return new Set(this.#finished);
  }

  async add(shard: string): Promise<void> {
    this.#finished.push(shard);
    await this.#write();
  }

  /** All is written. */
  async remove(): Promise<void> {
    await rm(join(this.#folder, FILE), { force: true });
  }

  async #resume({ finished }: State, shards: readonly Shard[]): Promise<void> {
    for (const { file, fileBytes } of shards) {
      if (!finished.includes(file)) continue;
      const size = await sizeOf(join(this.#folder, file));
      if (size === fileBytes) this.#finished.push(file);
    }
  }

  async #discard({ finished }: State): Promise<void> {
    for (const file of finished) await rm(join(this.#folder, file), { force: true });
  }

  async #read(): Promise<State | undefined> {
    let state: State;
    try {
      state = JSON.parse(await readFile(join(this.#folder, FILE), "utf8")) as State;
    } catch {
      return undefined;
    }
    const isShard = (file: unknown): boolean =>
      typeof file === "string" && /^model(-\d+-of-\d+)?\.safetensors$/.test(file);
    const isState = Array.isArray(state?.finished) && state.finished.every(isShard);
    return isState ? state : undefined;
  }

  #write(): Promise<void> {
    const state: State = { key: this.#key, finished: this.#finished };
    const bytes = new TextEncoder().encode(`${JSON.stringify(state)}\n`);
    return createDirectorySink(this.#folder).write(FILE, once(bytes));
  }
}

async function refuseModel(folder: string): Promise<void> {
  for (const file of WEIGHTS) {
    if ((await sizeOf(join(folder, file))) === undefined) continue;
    throw new TureenError("OPTION_INVALID", "the folder already holds a model", {
      found: file,
      where: folder,
      hint: "Choose another one, or empty it first.",
    });
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  return stat(path).then(
    ({ size }) => size,
    () => undefined,
  );
}
