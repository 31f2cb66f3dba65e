// Examples become token ids with a weight for every prediction: what the loss counts. Owns the rules of what is scored, how an
// example ends, and what happens to one that is too long.
import { TureenError } from "../errors.ts";
import { type ChatMessage, renderChat } from "../model/chat-template.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { TrainingExample } from "./backward.ts";
import type { LearningExample, LocatedExample } from "./data.ts";

/** What a model folder says about text. */
export interface LearningText {
  readonly tokenizer: Tokenizer | undefined;
  /** Jinja source. */
  readonly chatTemplate: string | undefined;
  /** For messages: the model. */
  readonly where: string;
}

export interface EncodingOptions {
  /** Tokens of an example that are kept, from its beginning. */
  readonly truncation: number;
  /** What the loss counts: completions and assistant turns (and whole texts), or every token. */
  readonly scored: "completions" | "all";
}

/** Token ids, and which of them are scored. */
interface ScoredTokens {
  readonly ids: number[];
  readonly scored: boolean[];
}

/**
 * Encodes an example. Texts and completions end with the tokenizer's end-of-text token, which is scored too; chats end as
 * their template ends them. The beginning is the tokenizer's own (`<s>`), and never scored.
 * @throws TureenError `TOKENIZER_INVALID` without a tokenizer; `OPTION_INVALID` if the chat template does not fit;
 * `FORMAT_INVALID` if nothing is left to score
 */
export function encodeExample(
  { example, where }: LocatedExample,
  text: LearningText,
  { truncation, scored: wanted }: EncodingOptions,
): TrainingExample {
  if (text.tokenizer === undefined) {
    throw new TureenError("TOKENIZER_INVALID", "the model has no tokenizer.json", {
      where: text.where,
      hint: "Learning needs one, to turn examples into tokens.",
    });
  }
  const { ids, scored } = scoreTokens(example, text.tokenizer, text, where);
  const length = Math.min(ids.length, truncation);
  const weights = Array.from({ length: Math.max(0, length - 1) }, (_, t) =>
    wanted === "all" || scored[t + 1] ? 1 : 0,
  );
  const end = weights.lastIndexOf(1) + 1; // what is not predicted need not be read
  if (end === 0) throw nothingScored(ids, scored, truncation, where);
  return { ids: ids.slice(0, end + 1), weights: weights.slice(0, end) };
}

function scoreTokens(
  example: LearningExample,
  tokenizer: Tokenizer,
  text: LearningText,
  where: string,
): ScoredTokens {
  if ("messages" in example) return scoreChat(example.messages, tokenizer, text, where);
  const prompt = "prompt" in example ? example.prompt : "";
  const completion = "prompt" in example ? example.completion : example.text;
  if (completion === "") {
    throw new TureenError("FORMAT_INVALID", "an example has nothing to learn", {
      expected: "a text that is not empty",
      found: '""',
      where,
    });
  }
  // Prompt and completion are encoded as one text, as the model will see them. A token that spans both belongs to the completion.
  const before = withoutEnd(tokenizer.encode(prompt), tokenizer);
  const ids = withoutEnd(tokenizer.encode(prompt + completion), tokenizer);
  const start = commonLength(before, ids);
  if (tokenizer.eosTokenId !== undefined) ids.push(tokenizer.eosTokenId);
  return { ids, scored: ids.map((_, i) => i >= start) };
}

/** Every assistant turn is scored, with the end-of-text token that its template puts behind it, or else all that it puts there. */
function scoreChat(
  messages: readonly ChatMessage[],
  tokenizer: Tokenizer,
  { chatTemplate }: LearningText,
  where: string,
): ScoredTokens {
  const { bosToken, eosToken } = tokenizer;
  const render = (count: number, addGenerationPrompt: boolean): string => {
    if (count === 0) return "";
    const context = { bosToken, eosToken, addGenerationPrompt };
    try {
      return renderChat(chatTemplate, messages.slice(0, count), context);
    } catch (error) {
      if (!(error instanceof TureenError)) throw error;
      const { expected, found, hint } = error.details;
      const details = Object.fromEntries(
        Object.entries({ expected, found, hint }).filter(([, value]) => value !== undefined),
      );
      throw new TureenError(error.code, error.message.split(":")[0]!, { ...details, where });
    }
  };
  const whole = render(messages.length, false);
  const encode = (text: string): number[] => tokenizer.encode(text, { addSpecialTokens: false });
  const ids = encode(whole);
  const scored = ids.map(() => false);
  messages.forEach(({ role }, i) => {
    if (role !== "assistant") return;
    const before = render(i, true);
    const after = render(i + 1, false);
    if (!whole.startsWith(before) || !whole.startsWith(after) || after.length <= before.length) {
      throw new TureenError("OPTION_INVALID", "the chat template hides where an answer stands", {
        expected: "a template that only adds to what it wrote for earlier messages",
        found: `another beginning, with message ${i + 1}`,
        where,
        hint: "Score everything instead, or give the chat as { prompt, completion }.",
      });
    }
    const start = commonLength(encode(before), ids);
    const end = after.length === whole.length ? ids.length : commonLength(encode(after), ids);
    const stop = ids.findIndex((id, at) => at >= start && id === tokenizer.eosTokenId) + 1;
    scored.fill(true, start, stop > 0 && stop < end ? stop : end);
  });
  return { ids, scored };
}

function withoutEnd(ids: number[], { eosTokenId }: Tokenizer): number[] {
  if (eosTokenId !== undefined && ids.at(-1) === eosTokenId) ids.pop();
  return ids;
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}

function nothingScored(
  ids: readonly number[],
  scored: readonly boolean[],
  truncation: number,
  where: string,
): TureenError {
  const first = scored.indexOf(true);
  if (first > 0 && first >= truncation) {
    return new TureenError("FORMAT_INVALID", "an example is too long", {
      expected: `something to score in its first ${truncation} tokens`,
      found: `a completion that begins at token ${first + 1}`,
      where,
      hint: "Shorten its prompt, or raise the truncation length.",
    });
  }
  return new TureenError("FORMAT_INVALID", "nothing in an example is scored", {
    expected: "a completion, a text, or an assistant's turn",
    found: `${ids.length} ${ids.length === 1 ? "token" : "tokens"}, none of them scored`,
    where,
  });
}
