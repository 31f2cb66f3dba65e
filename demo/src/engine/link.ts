// The page's state in its address, so that a link shows the same soup: question, method and weights, which are f32 and written
// exactly: as one number where all layers agree, else as the base64 of their bytes.
import type { WeightTable } from "./blend.ts";

export interface LinkState {
  readonly question?: string;
  readonly method?: string;
  /** By adapter: one number, or one per linear layer. */
  readonly weights?: Readonly<Record<string, number | Float32Array>>;
}

const FINE = "~";

export function readLink(hash: string): LinkState {
  const parameters = new URLSearchParams(hash.replace(/^#/, ""));
  const weights: Record<string, number | Float32Array> = {};
  for (const part of parameters.get("w")?.split(",") ?? []) {
    const [name = "", value = ""] = part.split(":");
    const weight = value.startsWith(FINE) ? decode(value.slice(1)) : Math.fround(Number(value));
    if (name !== "" && value !== "" && isUsable(weight)) weights[name] = weight;
  }
  const question = parameters.get("q");
  const method = parameters.get("m");
  return {
    ...(question !== null && { question }),
    ...(method !== null && { method }),
    ...(Object.keys(weights).length > 0 && { weights }),
  };
}

export function writeLink(question: string, method: string, weights: WeightTable): string {
  const parts = Object.entries(weights).map(([name, table]) => {
    const [first = 0] = table;
    const isOne = table.every((weight) => weight === first);
    return `${name}:${isOne ? shortest(first) : `${FINE}${encode(table)}`}`;
  });
  const parameters = new URLSearchParams({ q: question, m: method });
  // Colons, commas and tildes are allowed here as they are, and read better.
  return parts.length === 0 ? `#${parameters}` : `#${parameters}&w=${parts.join(",")}`;
}

/** The shortest decimal that is this f32. */
function shortest(value: number): string {
  for (let digits = 1; digits < 9; digits++) {
    const text = String(Number(value.toPrecision(digits)));
    if (Math.fround(Number(text)) === value) return text;
  }
  return String(value);
}

function encode(table: Float32Array): string {
  const bytes = new Uint8Array(table.buffer, table.byteOffset, table.byteLength);
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");
}

function decode(text: string): Float32Array | undefined {
  try {
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(binary, (char) => char.charCodeAt(0));
    return new Float32Array(bytes.buffer, 0, Math.floor(bytes.length / 4));
  } catch {
    return undefined;
  }
}

/** Links are anyone's: only finite weights of a sane size are taken. */
function isUsable(weight: number | Float32Array | undefined): weight is number | Float32Array {
  if (weight === undefined) return false;
  const list = typeof weight === "number" ? [weight] : [...weight];
  return list.length > 0 && list.every((value) => Number.isFinite(value) && Math.abs(value) <= 100);
}
