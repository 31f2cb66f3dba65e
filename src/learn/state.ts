// Where a run stands, as plain JSON: everything that continuing needs and that the same start would not give again.
import * as v from "valibot";
import { TureenError } from "../errors.ts";
import type { OptimizerState } from "./optimizer.ts";

const finite = v.pipe(v.number(), v.finite());
const numbers = v.array(finite);
const count = v.pipe(v.number(), v.integer(), v.minValue(0));

/** A run's progress; `JSON.stringify` keeps every bit. */
export interface LearningState {
  readonly format: "tureen-learning";
  readonly version: 1;
  /** SHA-256 of what defines the run: model, adapters, examples, hyper-parameters. */
  readonly run: string;
  /** Steps that are done. */
  readonly step: number;
  /** Raw parameters. */
  readonly values: readonly number[];
  readonly optimizer: OptimizerState;
  /** Of every step. */
  readonly losses: readonly number[];
  readonly evaluations: readonly Evaluation[];
  /** With validation: the lowest loss. Without: the latest values that gave a finite loss. */
  readonly best: {
    readonly step: number;
    readonly values: readonly number[];
    readonly loss: number | null;
  };
}

/** A validation loss, after so many steps. */
export interface Evaluation {
  readonly step: number;
  readonly loss: number;
}

const schema = v.strictObject({
  format: v.literal("tureen-learning"),
  version: v.literal(1),
  run: v.string(),
  step: count,
  values: numbers,
  optimizer: v.strictObject({
    first: numbers,
    second: numbers,
    beta1Power: finite,
    beta2Power: finite,
  }),
  losses: numbers,
  evaluations: v.array(v.strictObject({ step: count, loss: finite })),
  best: v.strictObject({ step: count, values: numbers, loss: v.nullable(finite) }),
});

/**
 * Checks a state, from JSON or as an object.
 * @param run of the run that is to be continued
 * @param size number of its parameters
 * @throws TureenError `FORMAT_INVALID`; `OPTION_INVALID` if it belongs to another run
 */
export function parseLearningState(value: unknown, run: string, size: number): LearningState {
  let json = value;
  if (typeof value === "string") {
    try {
      json = JSON.parse(value);
    } catch (cause) {
      throw new TureenError("FORMAT_INVALID", "the learning checkpoint is not JSON", {}, { cause });
    }
  }
  const result = v.safeParse(schema, json);
  if (!result.success) {
    const issue = result.issues[0];
    throw new TureenError("FORMAT_INVALID", "the learning checkpoint does not follow its format", {
      expected: issue.expected ?? "another value",
      found: issue.received,
      where: v.getDotPath(issue) ?? "the whole",
    });
  }
  const state = result.output;
  if (state.run !== run) {
    throw new TureenError("OPTION_INVALID", "the learning checkpoint belongs to another run", {
      expected: `run ${run.slice(0, 12)}…`,
      found: `${state.run.slice(0, 12)}…`,
      hint: "Continue with the same model, adapters, data and options, or begin anew.",
    });
  }
  const { first, second } = state.optimizer;
  const sizes = [state.values, first, second, state.best.values].map(({ length }) => length);
  if (sizes.every((length) => length === size) && state.losses.length === state.step) return state;
  throw new TureenError("FORMAT_INVALID", "the learning checkpoint contradicts itself", {
    expected: `${size} parameters and ${state.step} losses`,
    found: `${sizes.join(", ")} and ${state.losses.length}`,
  });
}
