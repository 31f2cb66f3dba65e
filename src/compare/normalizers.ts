// When two answers count as the same. A normalizer maps a text to what is compared; none of them knows of models.

export interface Normalizer {
  /** One line, for people. */
  readonly summary: string;
  /** Whether the model must also have ended by itself. */
  readonly needsEnd: boolean;
  /** What is compared; `undefined` matches nothing. */
  normalize(text: string): string | undefined;
}

export type NormalizerName = "exact" | "trim" | "first-line" | "squad" | "number";

export const NORMALIZERS: Readonly<Record<NormalizerName, Normalizer>> = {
  exact: {
    summary: "the whole text, character by character, and then the end",
    needsEnd: true,
    normalize: (text) => text,
  },
  trim: {
    summary: "as exact, without white space around it, and without asking for the end",
    needsEnd: false,
    normalize: (text) => text.trim(),
  },
  "first-line": {
    summary: "the first line that is not empty, without white space around it",
    needsEnd: false,
    normalize: (text) =>
      text
        .split("\n")
        .find((line) => line.trim() !== "")
        ?.trim() ?? "",
  },
  squad: {
    summary: "lower case, without punctuation, articles and extra white space, as SQuAD compares",
    needsEnd: false,
    normalize: (text) =>
      text
        .toLowerCase()
        .replace(/[\p{P}\p{S}]/gu, "")
        .replace(/\b(a|an|the)\b/g, " ")
        .split(/\s+/)
        .filter((word) => word !== "")
        .join(" "),
  },
  number: {
    summary: "the last number of the text, as GSM8K's answers are compared",
    needsEnd: false,
    normalize: lastNumber,
  },
};

/** 1,234.50 → "1234.5" */
function lastNumber(text: string): string | undefined {
  const found = text.match(/-?(\d[\d,]*)?\.?\d+/g)?.at(-1);
  return found === undefined ? undefined : String(Number(found.replaceAll(",", "")));
}

/**
 * @param ended whether the model ended the text itself
 */
export function isMatch(
  name: NormalizerName,
  text: string,
  reference: string,
  ended: boolean,
): boolean {
  const normalizer = NORMALIZERS[name];
  if (normalizer.needsEnd && !ended) return false;
  const found = normalizer.normalize(text);
  return found !== undefined && found === normalizer.normalize(reference);
}
