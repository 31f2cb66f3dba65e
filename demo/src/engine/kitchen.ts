// The embedded model in its worker, with both adapters: loaded once, used by every part of the page.
import { signal } from "@preact/signals";
import { createTureenWorker, type RemoteModel, type TureenWorker } from "tureen/worker";
import { Blend, uniform } from "./blend.ts";
import { type FileProgress, fetchKitchen, folder, type KitchenFiles } from "./kitchen-files.ts";
import type { Question } from "./questions.ts";

/** What the adapters are called in the kitchen's own files, and on the page. */
export const ADAPTERS = ["knowledge", "format"] as const;
export const LABELS: Readonly<Record<string, string>> = { knowledge: "facts", format: "answers" };

export interface Kitchen {
  readonly worker: TureenWorker;
  readonly model: RemoteModel;
  readonly files: KitchenFiles;
  /** The soup of the page: what sliders and heat map change. */
  readonly blend: Blend;
  readonly questions: readonly Question[];
  /** `soups/learned.json`. */
  readonly learned: string;
  /** How many compute. */
  readonly threads: number;
  /** From opening the page until everything was loaded, in ms. */
  readonly readyMs: number;
}

export const kitchen = signal<Kitchen | undefined>(undefined);
export const kitchenProgress = signal<FileProgress>({ bytesDone: 0, bytesTotal: 1 });
export const kitchenProblem = signal<unknown>(undefined);

export async function openKitchen(): Promise<void> {
  try {
    const worker = createTureenWorker();
    const files = await fetchKitchen((progress) => {
      kitchenProgress.value = progress;
    });
    // A model this small is quickest there, and learning and the check of bits need it.
    const model = await loadKitchenModel(worker, files, { backend: "wasm" });
    const blend = await Blend.create(model, uniform(ADAPTERS));
    kitchen.value = {
      worker,
      model,
      files,
      blend,
      questions: JSON.parse(await files.get("questions.json")!.text()),
      learned: await files.get("soups/learned.json")!.text(),
      threads: (await model.info).backend.threads,
      readyMs: performance.now(),
    };
  } catch (error) {
    kitchenProblem.value = error;
  }
}

type LoadOptions = NonNullable<Parameters<TureenWorker["loadModel"]>[1]>;

export async function loadKitchenModel(
  worker: TureenWorker,
  files: KitchenFiles,
  options: LoadOptions = {},
): Promise<RemoteModel> {
  const model = await worker.loadModel(folder(files, "base"), options);
  for (const name of ADAPTERS) {
    await model.loadAdapter(folder(files, `adapters/${name}`), { name });
  }
  return model;
}
