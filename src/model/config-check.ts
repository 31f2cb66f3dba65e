// How config.json is checked and refused, for all who read it.
import * as v from "valibot";
import { TureenError } from "../errors.ts";

/** @throws TureenError `MODEL_CONFIG_INVALID`, naming the field */
export function validate<S extends v.GenericSchema>(
  schema: S,
  json: unknown,
  where: string,
): v.InferOutput<S> {
  const result = v.safeParse(schema, json);
  if (result.success) return result.output;
  const issue = result.issues[0];
  const field = v.getDotPath(issue) ?? "the file";
  throw new TureenError("MODEL_CONFIG_INVALID", `${field} is missing or invalid`, {
    expected: issue.expected?.replace(/\bundefined\b/, "a value") ?? "a valid value",
    found: issue.received,
    where,
  });
}

/** `MODEL_UNSUPPORTED` */
export function unsupported(
  what: string,
  expected: string,
  found: string,
  where: string,
): TureenError {
  return new TureenError("MODEL_UNSUPPORTED", what, { expected, found, where });
}

/** `MODEL_CONFIG_INVALID` with a printable form of what was found. */
export function configError(
  what: string,
  expected: string,
  found: unknown,
  where: string,
): TureenError {
  const printed = found === undefined ? "nothing" : JSON.stringify(found);
  return new TureenError("MODEL_CONFIG_INVALID", what, {
    expected,
    found: printed.length > 80 ? `${printed.slice(0, 80)}…` : printed,
    where,
  });
}
