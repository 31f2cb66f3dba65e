// A look at JSON text before JSON.parse: parsing keeps the last of two equal keys without a word, and will happily build
// nesting that costs gigabytes. Tolerates broken JSON; JSON.parse reports that.

/** What the scan found. */
export type JsonKeyFault =
  | { readonly kind: "duplicate"; readonly key: string }
  | { readonly kind: "depth"; readonly offset: number };

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;

/**
 * Finds the first object key that repeats within its object, or the first nesting deeper than `maxDepth`.
 * Linear in the length of the text.
 */
export function findJsonKeyFault(text: string, maxDepth: number): JsonKeyFault | undefined {
  const stack: (Set<string> | undefined)[] = []; // undefined: an array
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x7b || c === 0x5b) {
      if (stack.length >= maxDepth) return { kind: "depth", offset: i };
      stack.push(c === 0x7b ? new Set() : undefined);
    } else if (c === 0x7d || c === 0x5d) {
      stack.pop();
    } else if (c === QUOTE) {
      const end = findStringEnd(text, i);
      const keys = stack.at(-1);
      if (keys !== undefined && isFollowedByColon(text, end)) {
        const key = normalizeKey(text.slice(i, end));
        if (keys.has(key)) return { kind: "duplicate", key };
        keys.add(key);
      }
      i = end - 1;
    }
  }
  return undefined;
}

/** Index after the closing quote, or the text's end. */
function findStringEnd(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === BACKSLASH) i++;
    else if (c === QUOTE) return i + 1;
  }
  return text.length;
}

function isFollowedByColon(text: string, from: number): boolean {
  for (let i = from; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === COLON) return true;
    if (c !== 0x20 && c !== 0x09 && c !== 0x0a && c !== 0x0d) return false;
  }
  return false;
}

/** Equal keys may be spelt differently: "a" is "\u0061". */
function normalizeKey(literal: string): string {
  if (!literal.includes("\\")) return literal;
  try {
    return JSON.stringify(JSON.parse(literal));
  } catch {
    return literal;
  }
}
