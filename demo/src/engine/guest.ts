// A model that a visitor brings, in a worker of its own: ending the worker gives all its memory back.
import { batch, type Signal, signal } from "@preact/signals";
import type { HubOptions, LoadProgress, ModelInfo } from "tureen";
import { createTureenWorker, type RemoteModel, type TureenWorker } from "tureen/worker";
import { Blend } from "./blend.ts";
import { Chat } from "./chat.ts";
import type { PickedFolder } from "./dropped.ts";
import type { WeightChoice } from "./parity.ts";

/** A Hub id, a URL, an address below this page (`./…`), or files. */
export type GuestSource = string | PickedFolder;

export interface GuestOptions {
  readonly quantize: WeightChoice;
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
  readonly problem: Signal<unknown> = signal(undefined);
  readonly warnings: Signal<readonly string[]> = signal([]);
  #worker: TureenWorker | undefined;
  #controller = new AbortController();
  #options: GuestOptions = { quantize: "none", hub: {} };

  async load(source: GuestSource, options: GuestOptions): Promise<void> {
    this.close();
    this.#options = options;
    await this.#work(nameOf(source), async () => {
      this.#worker = createTureenWorker();
      const model = await this.#worker.loadModel(toInput(source), {
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
    if (this.loaded.value === undefined) this.#end();
  }

  async addAdapter(source: GuestSource): Promise<void> {
    const loaded = this.loaded.value;
    if (loaded === undefined) return;
    await this.#work(nameOf(source), async () => {
      const { model, blend } = loaded;
      const taken = blend.adapters.value.map(({ name }) => name);
      const { hub } = this.#options;
      const name = freeName(nameOf(source), taken);
      await blend.add(await model.loadAdapter(toInput(source), { name, hub, ...this.#hooks() }));
    });
  }

  cancel(): void {
    this.#controller.abort();
  }

  close(): void {
    this.cancel();
    batch(() => {
      this.loaded.value = undefined;
      this.problem.value = undefined;
      this.warnings.value = [];
    });
    this.#end();
  }

  #end(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
  }

  async #work(name: string, task: () => Promise<void>): Promise<void> {
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    batch(() => {
      this.loading.value = name;
      this.progress.value = undefined;
      this.problem.value = undefined;
    });
    try {
      await task();
    } catch (error) {
      if (!signal.aborted) this.problem.value = error;
    }
    this.loading.value = undefined;
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
  const last =
    address
      .split("/")
      .at(-1)
      ?.replace(/[=,@\s]+/g, "-") || "adapter";
  let name = last;
  for (let i = 2; taken.includes(name); i++) name = `${last}-${i}`;
  return name;
}
