// Which files a soup was made from: hashes of adapters, and a fingerprint of the base that needs only a few reads.
import { TureenError } from "../errors.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import type { FileSet, ReadOptions } from "../sources/source.ts";

/** An adapter's files, by content. */
export interface AdapterIdentity {
  /** Its name in the soup. */
  readonly name: string;
  /** SHA-256 of `adapter_config.json`, in hex; of a GGUF file, of the config that it is read as. */
  readonly config: string;
  /** SHA-256 of `adapter_model.safetensors` or the GGUF file, in hex. */
  readonly weights: string;
}

/** A base model's weights, by a sample of their content. */
export interface BaseIdentity {
  /** See `fingerprintBase`, in hex. */
  readonly fingerprint: string;
}

const WEIGHTS = "adapter_model.safetensors";
/** Tensors and bytes per tensor that a fingerprint reads. Enough to tell any fine-tuning apart, few enough for HTTP. */
const SAMPLED_TENSORS = 16;
const SAMPLED_BYTES = 1024;

/**
 * SHA-256 over the lines `name dtype shape` of all tensors in name order, followed by the first 1024 bytes of up to 16
 * matrices spread evenly over that order. The same for a model in one file and in shards; another for another dtype.
 */
export async function fingerprintBase(
  checkpoint: Checkpoint,
  options: ReadOptions = {},
): Promise<BaseIdentity> {
  const tensors = [...checkpoint.tensors.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const lines = tensors.map(({ name, dtype, shape }) => `${name} ${dtype} ${shape.join("x")}\n`);
  const pieces: Uint8Array[] = [new TextEncoder().encode(lines.join(""))];
  const matrices = tensors.filter(({ shape }) => shape.length === 2);
  const count = Math.min(SAMPLED_TENSORS, matrices.length);
  for (let i = 0; i < count; i++) {
    const { name, nBytes } = matrices[Math.floor((i * matrices.length) / count)]!;
    pieces.push(await checkpoint.read(name, 0, Math.min(SAMPLED_BYTES, nBytes), options));
  }
  return { fingerprint: await sha256(concatenate(pieces)) };
}

/** Hashes an adapter's config and weights. Reads each once, in whole. */
export async function identifyAdapter(
  name: string,
  files: FileSet,
  options: ReadOptions = {},
): Promise<AdapterIdentity> {
  return {
    name,
    config: await sha256(await readWhole(files, "adapter_config.json", options)),
    weights: await sha256(await readWhole(files, files.named ?? WEIGHTS, options)),
  };
}

async function readWhole(files: FileSet, path: string, options: ReadOptions): Promise<Uint8Array> {
  const source = await files.open(path, options);
  if (source === undefined) {
    throw new TureenError("SOURCE_NOT_FOUND", `${path} is no longer there`, { where: files.name });
  }
  try {
    return await source.read(0, source.size, options);
  } finally {
    await source.close();
  }
}

/** Lower-case hex. @throws TureenError `FORMAT_UNSUPPORTED` where the host has no Web Crypto */
export async function sha256(bytes: Uint8Array): Promise<string> {
  const subtle = globalThis.crypto?.subtle;
  if (subtle === undefined) {
    throw new TureenError("FORMAT_UNSUPPORTED", "hashing needs the Web Crypto API", {
      hint: "Browsers offer it on https pages and on localhost.",
    });
  }
  const digest = await subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function concatenate(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const piece of pieces) {
    whole.set(piece, offset);
    offset += piece.length;
  }
  return whole;
}
