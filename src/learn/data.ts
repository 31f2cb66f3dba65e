// Learning data as people write it: JSONL, one example per line. Owns the field names and their checks; turning examples into
// tokens is encode.ts's work.
import * as v from "valibot";
import { TureenError } from "../errors.ts";
import type { ChatMessage } from "../model/chat-template.ts";

/**
 * One example.
 * - `{ prompt, completion }`: the completion is to follow the prompt, exactly as written (a space between them is part of one).
 *   `answer` is read as `completion`.
 * - `{ messages }`: a chat, for the model's chat template.
 * - `{ text }`: all of it is to be predicted.
 *
 * Other fields are ignored.
 */
export type LearningExample =
  | { readonly prompt: string; readonly completion: string }
  | { readonly messages: readonly ChatMessage[] }
  | { readonly text: string };

/** One skill's examples. */
export interface LearningDataSet {
  /** For messages: where the examples come from. */
  readonly name: string;
  /** Text of a JSONL file, or what it would hold. */
  readonly examples: string | readonly LearningExample[];
}

/** An example and where it stands. */
export interface LocatedExample {
  readonly example: LearningExample;
  /** `train.jsonl, line 12` */
  readonly where: string;
}

const text = v.string();
const schemas = {
  messages: v.object({ messages: v.array(v.object({ role: text, content: text })) }),
  prompt: v.object({ prompt: text, completion: text }),
  text: v.object({ text }),
};

/**
 * All examples of a set, checked.
 * @throws TureenError `FORMAT_INVALID`, naming the line
 */
export function readDataSet({ name, examples }: LearningDataSet): LocatedExample[] {
  if (typeof examples !== "string" && !Array.isArray(examples)) {
    throw new TureenError("OPTION_INVALID", "option data is invalid", {
      expected: "examples as a list, or as the text of a JSONL file",
      found: examples === null ? "null" : typeof examples,
      where: String(name),
    });
  }
  const located =
    typeof examples === "string"
      ? parseLines(examples, name)
      : examples.map((example, i) => ({
          example: checkExample(example, `${name}, example ${i + 1}`),
          where: `${name}, example ${i + 1}`,
        }));
  if (located.length > 0) return located;
  throw new TureenError("FORMAT_INVALID", "there are no examples to learn from", {
    expected: "one JSON object per line",
    found: typeof examples === "string" && examples.length > 0 ? "blank lines" : "nothing",
    where: name,
  });
}

function parseLines(jsonl: string, name: string): LocatedExample[] {
  const located: LocatedExample[] = [];
  for (const [i, line] of jsonl
    .replace(/^\uFEFF/, "")
    .split("\n")
    .entries()) {
    if (line.trim() === "") continue;
    const where = `${name}, line ${i + 1}`;
    located.push({ example: checkExample(parseLine(line, where), where), where });
  }
  return located;
}

function parseLine(line: string, where: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new TureenError(
      "FORMAT_INVALID",
      "an example is not JSON",
      {
        expected: "one whole JSON object per line",
        found: line.trim().slice(0, 40),
        where,
        ...(line.trim().startsWith("[") && { hint: "The file must be JSONL, not one JSON list." }),
      },
      { cause },
    );
  }
}

function checkExample(value: unknown, where: string): LearningExample {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TureenError("FORMAT_INVALID", "an example is no object", {
      expected: "{ prompt, completion }, { messages } or { text }",
      found: Array.isArray(value) ? "a list" : JSON.stringify(value)?.slice(0, 40),
      where,
    });
  }
  const fields = value as Readonly<Record<string, unknown>>;
  if ("messages" in fields) return parse(schemas.messages, fields, where);
  if ("prompt" in fields) {
    const { completion = fields.answer } = fields;
    return parse(schemas.prompt, { prompt: fields.prompt, completion }, where);
  }
  if ("text" in fields) return parse(schemas.text, fields, where);
  const names = Object.keys(fields);
  throw new TureenError("FORMAT_INVALID", "an example has no text", {
    expected: "{ prompt, completion }, { messages } or { text }",
    found: names.length === 0 ? "{}" : `the fields ${names.slice(0, 8).join(", ")}`,
    where,
  });
}

function parse<S extends v.GenericSchema>(
  schema: S,
  value: unknown,
  where: string,
): v.InferOutput<S> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const issue = result.issues[0];
  const field = v.getDotPath(issue) ?? "the example";
  const isMissing = issue.received === "undefined";
  throw new TureenError("FORMAT_INVALID", "an example's field is missing or of the wrong type", {
    expected: isMissing ? field : `${field} as ${issue.expected?.toLowerCase() ?? "text"}`,
    found: isMissing ? "none" : issue.received.slice(0, 40),
    where,
  });
}
