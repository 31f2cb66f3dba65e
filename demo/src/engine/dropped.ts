// Files that a person dropped or picked, sorted into a base model and adapters by what lies in each folder.

export interface PickedFolder {
  /** Of the folder; "" for files without one. */
  readonly name: string;
  readonly files: Readonly<Record<string, File>>;
}

export interface Sorted {
  readonly base: PickedFolder | undefined;
  readonly adapters: readonly PickedFolder[];
}

interface FileAt {
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
  const entries = Array.from(data.items, (item) => item.webkitGetAsEntry?.() ?? undefined);
  const plain = listPicked(data.files);
  if (entries.every((entry) => entry === undefined)) return plain;
  const found: FileAt[] = [];
  for (const entry of entries) if (entry !== undefined) await walk(entry, found);
  return found;
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

/** A base and an adapter that lie in one folder have names of their own. */
function split(files: Record<string, File>): Record<string, File>[] {
  if (!("config.json" in files && "adapter_config.json" in files)) return [files];
  const part = (isAdapter: boolean) =>
    Object.fromEntries(
      Object.entries(files).filter(([name]) => name.startsWith("adapter_") === isAdapter),
    );
  return [part(false), part(true)];
}

/** A folder with `adapter_config.json` is an adapter; the first other one, or what lies beside, is the base. */
export function sortFiles(files: readonly FileAt[]): Sorted {
  const folders = new Map<string, Record<string, File>>();
  for (const { path, file } of files) {
    const slash = path.lastIndexOf("/");
    const name = path.slice(0, Math.max(0, slash));
    const content = folders.get(name) ?? {};
    content[path.slice(slash + 1)] = file;
    folders.set(name, content);
  }
  const all = [...folders].flatMap(([name, content]) => {
    return split(content).map((files) => ({ name: name.split("/").at(-1) ?? "", files }));
  });
  const isAdapter = ({ files }: PickedFolder) =>
    "adapter_config.json" in files || "adapter_model.safetensors" in files;
  const others = all.filter((folder) => !isAdapter(folder));
  return {
    base: others.find(({ files }) => "config.json" in files) ?? others[0],
    adapters: all.filter(isAdapter),
  };
}
