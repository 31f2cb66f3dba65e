// A model that a visitor brings, in a worker of its own: ending the worker gives all its memory back.
import { batch, type Signal, signal } from "@preact/signals";
import type { HubOptions, LoadProgress, ModelInfo } from "tureen";
import { createTureenWorker, type RemoteModel, type TureenWorker } from "tureen/worker";
import { Blend } from "./blend.ts";
import { Chat } from "./chat.ts";
import { type FileAt, type PickedFolder, type Sorted, sortFiles } from "./dropped.ts";
import type { WeightChoice } from "./parity.ts";

/** A Hub id, a URL, an address below this page (`./…`), or files. */
export type GuestSource = string | PickedFolder;

export interface GuestOptions {
  /** Default: as the file holds them. */
  readonly quantize?: WeightChoice | undefined;
  readonly hub: HubOptions;
}

export interface GuestModel {
  readonly model: RemoteModel;
  readonly info: ModelInfo;
  readonly blend: Blend;
  readonly chat: Chat;
}

export class Guest {
  readonly loaded: Signal<GuestModel | undefined> = signal(undefined);
  /** What is being loaded. */
  readonly loading: Signal<string | undefined> = signal(undefined);
  readonly progress: Signal<LoadProgress | undefined> = signal(undefined);
  readonly problems: Signal<readonly unknown[]> = signal([]);
  readonly warnings: Signal<readonly string[]> = signal([]);
  #worker: TureenWorker | undefined;
  #controller = new AbortController();
  #options: GuestOptions = { hub: {} };

  /** @returns `undefined` if it was cancelled. What could not be read is among the problems. */
  async sort(files: readonly FileAt[]): Promise<Sorted | undefined> {
    return this.#work("files", async (signal) => {
      const sorted = await sortFiles(files, (group) =>
        this.#start().findSourceKind(group, { signal }),
      );
      this.problems.value = sorted.problems;
      return sorted;
    });
  }

  async load(source: GuestSource, options: GuestOptions): Promise<void> {
    this.#options = options;
    this.warnings.value = [];
    await this.#work(nameOf(source), async () => {
      const model = await this.#start().loadModel(toInput(source), {
        ...options,
        ...this.#hooks(),
      });
      const [info, blend, chat] = await Promise.all([
        model.info,
        Blend.create(model),
        Chat.create(model),
      ]);
      this.loaded.value = { model, info, blend, chat };
    });
  }

  /**
   * One after the other; those that cannot be loaded are among the problems.
   * @param problems what stays on the page
   */
  async addAdapters(
    sources: readonly GuestSource[],
    problems: readonly unknown[] = [],
  ): Promise<void> {
    const loaded = this.loaded.value;
    if (loaded === undefined) return;
    const { model, blend } = loaded;
    const { hub } = this.#options;
    let earlier = problems;
    for (const source of sources) {
      const taken = blend.adapters.value.map(({ name }) => name);
      const name = freeName(nameOf(source), taken);
      const add = async () =>
        blend.add(await model.loadAdapter(toInput(source), { name, hub, ...this.#hooks() }));
      await this.#work(nameOf(source), add, earlier);
      if (this.#controller.signal.aborted) return;
      earlier = this.problems.value;
    }
  }

  cancel(): void {
    this.#controller.abort();
  }

  close(): void {
    this.cancel();
    batch(() => {
      this.loaded.value = undefined;
      this.problems.value = [];
      this.warnings.value = [];
    });
    this.#end();
  }

  #start(): TureenWorker {
    this.#worker ??= createTureenWorker();
    return this.#worker;
  }

  #end(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
  }

  /** @param earlier problems that stay on the page */
  async #work<T>(
    name: string,
    task: (signal: AbortSignal) => Promise<T>,
    earlier: readonly unknown[] = [],
  ): Promise<T | undefined> {
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    batch(() => {
      this.loading.value = name;
      this.progress.value = undefined;
      this.problems.value = earlier;
    });
    try {
      return await task(signal);
    } catch (error) {
      if (!signal.aborted) this.problems.value = [...earlier, error];
      if (this.loaded.value === undefined) this.#end();
      return undefined;
    } finally {
      this.loading.value = undefined;
    }
  }

  #hooks() {
    return {
      signal: this.#controller.signal,
      onProgress: (progress: LoadProgress) => {
        this.progress.value = progress;
      },
      onWarning: ({ message }: { readonly message: string }) => {
        this.warnings.value = [...this.warnings.value, message];
      },
    };
  }
}

function toInput(source: GuestSource): string | URL | Readonly<Record<string, File>> {
  if (typeof source !== "string") return source.files;
  const text = source.trim();
  return /^\.{0,2}\//.test(text) ? new URL(text, document.baseURI) : text;
}

function nameOf(source: GuestSource): string {
  if (typeof source !== "string") return source.name || "files";
  return source.trim().replace(/\/+$/, "");
}

/** The last part of an address, as the library takes names of adapters. */
function freeName(address: string, taken: readonly string[]): string {
  const path = address.replace(/(\.gguf)?([?#].*)?$/i, "");
  const last =
    path
      .split("/")
      .at(-1)!
      .replace(/[=,@\s]+/g, "-") || "adapter";
  let name = last;
  for (let i = 2; taken.includes(name); i++) name = `${last}-${i}`;
  return name;
}
