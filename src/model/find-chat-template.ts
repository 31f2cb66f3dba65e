// Where a model's files have its chat template. What renders it is chat-template.ts.
import { TureenError } from "../errors.ts";

/**
 * Finds a model's chat template: the text of chat_template.jinja if there is one, else `chat_template` of tokenizer_config.json,
 * which is a template or a list of named ones, of which `default` is taken.
 * @returns `undefined` if there is none
 * @throws TureenError `TOKENIZER_INVALID` if `chat_template` is neither
 */
export function findChatTemplate(
  tokenizerConfig: unknown,
  jinjaFile: string | undefined,
  where: string,
): string | undefined {
  if (jinjaFile !== undefined) return jinjaFile;
  const template = (tokenizerConfig as { chat_template?: unknown } | null | undefined)
    ?.chat_template;
  if (template === undefined || template === null) return undefined;
  if (typeof template === "string") return template;
  if (Array.isArray(template)) {
    const named = template.find((entry) => entry?.name === "default")?.template;
    if (typeof named === "string") return named;
  }
  throw new TureenError("TOKENIZER_INVALID", "chat_template is invalid", {
    expected: "a template, or a list of named templates with one named default",
    found: Array.isArray(template) ? "a list without it" : typeof template,
    where,
  });
}

/** For chats with a model that has none. */
export function noTemplate(): TureenError {
  return new TureenError("OPTION_INVALID", "the model has no chat template", {
    expected: "chat_template in tokenizer_config.json, or chat_template.jinja",
    found: "neither",
    hint: "Give the prompt as a string, in the format that the model was trained on.",
  });
}
