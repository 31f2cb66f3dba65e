// Recognises what downloads leave in place of a file, so that errors can name it.

/** Something else than the file that was wanted. */
export interface ForeignContent {
  /** For messages: what it is. */
  readonly found: string;
  /** How to get the real file. */
  readonly hint: string;
}

/** Bytes that suffice to recognise foreign content. */
export const FOREIGN_CONTENT_BYTES = 512;

/**
 * Recognises a Git LFS pointer, an HTML page or an archive by its first bytes.
 * @param bytes the beginning of a file, at least `FOREIGN_CONTENT_BYTES` of it or all
 */
export function describeForeignContent(bytes: Uint8Array): ForeignContent | undefined {
  const head = bytes.subarray(0, FOREIGN_CONTENT_BYTES);
  if (head[0] === 0x50 && head[1] === 0x4b && head[2] === 3 && head[3] === 4) {
    return {
      found: "a ZIP archive (perhaps a PyTorch checkpoint)",
      hint: "Unpack it, or convert the checkpoint to safetensors.",
    };
  }
  if (head[0] === 0x1f && head[1] === 0x8b) {
    return { found: "gzip data", hint: "Decompress the file first." };
  }
  // Non-UTF-8 bytes become replacement characters, which match nothing below.
  const text = new TextDecoder().decode(head).trimStart().toLowerCase();
  if (text.startsWith("version https://git-lfs.github.com/spec/")) {
    return {
      found: "a Git LFS pointer",
      hint: "Fetch the real file with `git lfs pull`, or download it directly.",
    };
  }
  if (/^<(!doctype html|html|head|body)\b/.test(text)) {
    return {
      found: "an HTML page",
      hint: "The download was probably answered by a web page: check the address (/resolve/, not /blob/) and access rights.",
    };
  }
  return undefined;
}
