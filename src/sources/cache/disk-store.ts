// Named pieces of bytes as files below a folder: what a browser's storage is, on a disk. A piece is written beside its place and
// renamed, so whoever reads sees all of it or nothing. Keys are used as paths as they are.
import { findBuiltin } from "../../node-builtin.ts";
import { shortRead } from "../byte-source.ts";
import { filesIn } from "./directory-listing.ts";
import { type FileSystem, isMissing } from "./file-system.ts";
import type { PieceStore } from "./key-store.ts";

const MAX_ATTEMPTS = 10;

/** The folder is made when something is first kept. */
export function createDiskStore(root: string, fs: FileSystem): PieceStore {
  return {
    name: root,
    async get(key) {
      const path = `${root}/${key}`;
      const stat = await fs.stat(path).catch((cause: unknown) => {
        if (isMissing(cause)) return undefined;
        throw cause;
      });
      if (stat === undefined) return undefined;
      return {
        size: stat.size,
        text: () => fs.readFile(path, "utf8"),
        arrayBuffer: async () => new Uint8Array(await fs.readFile(path)).buffer,
        async readInto(bytes) {
          const file = await fs.open(path, "r");
          try {
            for (let done = 0; done < bytes.length; ) {
              const { bytesRead } = await file.read(bytes, done, bytes.length - done, done);
              if (bytesRead === 0) throw shortRead(path, bytes.length, done);
              done += bytesRead;
            }
          } finally {
            await file.close();
          }
        },
      };
    },
    async put(key, bytes) {
      for (let attempt = 1; ; attempt++) {
        try {
          await putFile(fs, `${root}/${key}`, bytes);
          return;
        } catch (error) {
          // Another program may have removed the folder, or what was in it, in between.
          if (!isMissing(error) || attempt === MAX_ATTEMPTS) throw error;
        }
      }
    },
    async delete(key) {
      const path = `${root}/${key}`;
      await fs.rm(path, { force: true });
      await fs.rmdir(path.slice(0, path.lastIndexOf("/"))).catch(() => {}); // unless it holds more
    },
    async keys(prefix) {
      const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
      const paths = await filesIn(fs, `${root}/${folder}`.replace(/\/$/, ""));
      return paths.map((path) => folder + path).filter((key) => key.startsWith(prefix));
    },
    hash: (bytes) => findBuiltin("node:crypto")!.createHash("sha256").update(bytes).digest("hex"),
    freeBytes: () =>
      fs.statfs(root).then(
        ({ bavail, bsize }) => bavail * bsize,
        () => undefined, // not every host tells
      ),
  };
}

async function putFile(fs: FileSystem, path: string, bytes: Uint8Array): Promise<void> {
  await fs.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  const temporary = `${path}.${Math.random().toString(36).slice(2, 10)}.tmp`;
  try {
    const file = await fs.open(temporary, "wx");
    await file.writeFile(bytes).finally(() => file.close());
    await fs.rename(temporary, path);
  } catch (error) {
    await fs.rm(temporary, { force: true }).catch(() => {});
    throw error;
  }
}
