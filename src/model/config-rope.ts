// Rotary position settings of config.json: one field in transformers 5 (`rope_parameters`), two in transformers 4
// (`rope_theta` and `rope_scaling`). Owns which scalings exist; the formulas are in backend/rope-frequencies.ts.
import type { RopeScaling } from "../backend/rope-frequencies.ts";
import { TureenError } from "../errors.ts";
import { configError } from "./config-check.ts";

/** The fields of config.json that count here, their types checked. */
export interface RopeJson {
  readonly rope_theta?: number | null | undefined;
  readonly rope_scaling?: Record<string, unknown> | null | undefined;
  readonly rope_parameters?: Record<string, unknown> | null | undefined;
  readonly original_max_position_embeddings?: number | null | undefined;
  readonly partial_rotary_factor?: number | null | undefined;
}

/**
 * Reads either spelling; `rope_parameters` wins where both stand.
 * @throws TureenError `MODEL_UNSUPPORTED` for yarn, dynamic, longrope and whatever else is not default, linear or llama3
 */
export function parseRope(
  raw: RopeJson,
  maxPositions: number,
  where: string,
): { ropeTheta: number; ropeScaling: RopeScaling | undefined } {
  const field = raw.rope_parameters ? "rope_parameters" : "rope_scaling";
  const rope = raw.rope_parameters ?? raw.rope_scaling ?? {};
  const rotary = rope.partial_rotary_factor ?? raw.partial_rotary_factor ?? 1;
  if (rotary !== 1) {
    throw new TureenError(
      "MODEL_UNSUPPORTED",
      "rotating only a part of each head is not supported",
      {
        expected: "partial_rotary_factor 1",
        found: String(rotary),
        where,
      },
    );
  }
  const number = (name: string, fallback?: number | null): number => {
    const value = rope[name] ?? fallback;
    if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
    throw configError(`${field}.${name} is missing or invalid`, "a number above 0", value, where);
  };
  const ropeTheta = number("rope_theta", raw.rope_theta ?? 10000);

  const type = rope.rope_type ?? rope.type ?? "default";
  if (type === "default") return { ropeTheta, ropeScaling: undefined };
  if (type === "linear") return { ropeTheta, ropeScaling: { type, factor: number("factor") } };
  if (type === "llama3") {
    const scaling: RopeScaling = {
      type,
      factor: number("factor"),
      lowFreqFactor: number("low_freq_factor"),
      highFreqFactor: number("high_freq_factor"),
      originalLength: number(
        "original_max_position_embeddings",
        raw.original_max_position_embeddings ?? maxPositions,
      ),
    };
    if (scaling.highFreqFactor <= scaling.lowFreqFactor) {
      const expected = `more than low_freq_factor (${scaling.lowFreqFactor})`;
      throw configError(
        `${field}.high_freq_factor is too small`,
        expected,
        scaling.highFreqFactor,
        where,
      );
    }
    return { ropeTheta, ropeScaling: scaling };
  }
  throw new TureenError("MODEL_UNSUPPORTED", `rope type "${String(type)}" is not supported`, {
    expected: "default, linear or llama3",
    found: String(type),
    where: `${field} in ${where}`,
  });
}
