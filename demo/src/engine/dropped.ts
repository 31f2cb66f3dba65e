// Files that a person dropped or picked, sorted into models and adapters: folders by what lies in them, GGUF files by what they say
// of themselves.
import type { SourceKind } from "tureen";

export interface PickedFolder {
  /** Of the folder, or of a GGUF file; "" for files without one. */
  readonly name: string;
  readonly files: Readonly<Record<string, File>>;
}

export interface Sorted {
  readonly base: PickedFolder | undefined;
  readonly adapters: readonly PickedFolder[];
  /** Further models: there is room for one. */
  readonly unused: readonly PickedFolder[];
  /** Why files could not be read. */
  readonly problems: readonly unknown[];
}

export interface FileAt {
  /** With folders, e.g. `model/config.json`. */
  readonly path: string;
  readonly file: File;
}

/** Of `<input type="file">`, also with `webkitdirectory`. */
export function listPicked(list: Iterable<File>): FileAt[] {
  return Array.from(list, (file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** Of a drop, folders included. To be called while the event is handled: the browser then takes the items away. */
export async function listDropped(data: DataTransfer): Promise<FileAt[]> {
  const plain = listPicked(data.files);
  const entries = Array.from(data.items, (item) => item.webkitGetAsEntry());
  const found: FileAt[] = [];
  for (const entry of entries) if (entry !== null) await walk(entry, found);
  return found.length > 0 ? found : plain; // what another program drops may have no entry
}

async function walk(entry: FileSystemEntry, found: FileAt[]): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => {
      (entry as FileSystemFileEntry).file(resolve, reject);
    });
    found.push({ path: entry.fullPath.replace(/^\//, ""), file });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    const batch = await new Promise<FileSystemEntry[]>((resolve, reject) => {
      reader.readEntries(resolve, reject);
    });
    if (batch.length === 0) return;
    for (const child of batch) await walk(child, found);
  }
}

/** Shards are one model. */
const GGUF = /(-\d{5}-of-\d{5})?\.gguf$/i;
/** What PEFT calls an adapter's files. */
const PEFT = "adapter_";

export function isGguf({ files }: PickedFolder): boolean {
  return GGUF.test(Object.keys(files)[0] ?? "");
}

/** By folder, with an adapter's files apart from those of a base in the same one; and every GGUF file by itself. */
function group(files: readonly FileAt[]): Iterable<PickedFolder> {
  const groups = new Map<string, { name: string; files: Record<string, File> }>();
  for (const { path, file } of files) {
    const [, folder = "", name = ""] = /^(.*\/)?(.*)$/.exec(path)!;
    const stem = GGUF.test(name) ? name.replace(GGUF, "") : undefined;
    const key = folder + (stem ?? (name.startsWith(PEFT) ? PEFT : "/"));
    const found = groups.get(key) ?? { name: stem ?? folder.split("/").at(-2) ?? "", files: {} };
    found.files[name] = file;
    groups.set(key, found);
  }
  return groups.values();
}

/** @param kindOf tells what a GGUF file is */
export async function sortFiles(
  files: readonly FileAt[],
  kindOf: (files: PickedFolder["files"]) => Promise<SourceKind | undefined>,
): Promise<Sorted> {
  const sorted: Record<SourceKind | "other", PickedFolder[]> = {
    model: [],
    adapter: [],
    other: [],
  };
  const problems: unknown[] = [];
  for (const folder of group(files)) {
    const has = (start: string) => Object.keys(folder.files).some((name) => name.startsWith(start));
    const byNames = () => (has("config.json") ? "model" : has(PEFT) ? "adapter" : "other");
    try {
      const kind = isGguf(folder) ? ((await kindOf(folder.files)) ?? "other") : byNames();
      sorted[kind].push(folder);
    } catch (error) {
      problems.push(error);
    }
  }
  const { model, adapter, other } = sorted;
  // with nothing else in it, what was dropped is meant to be the model: loading it says what is missing
  const [base = adapter.length + problems.length === 0 ? other[0] : undefined, ...unused] = model;
  return { base, adapters: adapter, unused, problems };
}
