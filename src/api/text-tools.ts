// Text on either side of the model: the tokenizer and chat template that lie beside the weights, and prompts made with them.
import { TureenError } from "../errors.ts";
import type { ChatMessage, renderChat } from "../model/chat-template.ts";
import { findChatTemplate, noTemplate } from "../model/find-chat-template.ts";
import { loadTokenizer, type StreamDecoder, type Tokenizer } from "../model/tokenizer.ts";
import { readJson } from "../sources/open.ts";
import type { FileSet, ReadOptions } from "../sources/source.ts";

/** Text, chat messages for the model's chat template, or token ids. */
export type Prompt = string | readonly ChatMessage[] | readonly number[];

/** What a model folder says about text. */
export interface TextTools {
  /** `undefined` if there is no tokenizer.json. */
  readonly tokenizer: Tokenizer | undefined;
  /** Jinja source; `undefined` if the model has none. */
  readonly chatTemplate: string | undefined;
  /** Renders it, where there is one. */
  readonly renderChat: typeof renderChat | undefined;
  /** For messages: the model. */
  readonly where: string;
}

/** The largest templates in use have some 30 kB. */
const MAX_TEMPLATE_BYTES = 1024 * 1024;

/** @throws TureenError `TOKENIZER_INVALID`, `FORMAT_INVALID`, `FORMAT_UNSUPPORTED` */
export async function loadTextTools(files: FileSet, reading: ReadOptions): Promise<TextTools> {
  const tokenizerJson = await readJson(files, "tokenizer.json", reading);
  const config = await readJson(files, "tokenizer_config.json", reading);
  const where = files.name;
  const tokenizer =
    tokenizerJson === undefined
      ? undefined
      : loadTokenizer(tokenizerJson, config, `${where}/tokenizer.json`);
  const jinja = await readText(files, "chat_template.jinja", reading);
  const chatTemplate =
    findChatTemplate(config, jinja, where) ??
    findChatTemplate(await readJson(files, "chat_template.json", reading), undefined, where);
  const program =
    chatTemplate === undefined ? undefined : await import("../model/chat-template.ts");
  return { tokenizer, chatTemplate, renderChat: program?.renderChat, where };
}

/** @throws TureenError `TOKENIZER_INVALID` if text cannot be turned into tokens, `OPTION_INVALID` for what is no prompt */
export function tokenizePrompt(prompt: Prompt, tools: TextTools): number[] {
  if (typeof prompt === "string") return requireTokenizer(tools).encode(prompt);
  if (!Array.isArray(prompt)) throw invalidPrompt(prompt);
  const list: readonly unknown[] = prompt;
  if (list.every((item): item is number => typeof item === "number")) return [...list];
  if (list.every(isMessage)) return tokenizeChat(list, tools);
  throw invalidPrompt(list.find((item) => typeof item !== "number" && !isMessage(item)));
}

/**
 * Turns generated tokens into the text that continues the prompt: a leading space, or the rest of a character, depends on
 * what came before. Without a tokenizer there is no text.
 */
export function createTextDecoder(
  { tokenizer }: TextTools,
  promptTokenIds: readonly number[],
  specialTokens: boolean,
): StreamDecoder {
  if (tokenizer === undefined) return { push: () => "", flush: () => "" };
  const decoder = tokenizer.createDecoder({ skipSpecialTokens: !specialTokens });
  for (const id of promptTokenIds.slice(-16)) decoder.push(id);
  return decoder;
}

function tokenizeChat(messages: readonly ChatMessage[], tools: TextTools): number[] {
  const tokenizer = requireTokenizer(tools);
  if (tools.renderChat === undefined) throw noTemplate();
  const text = tools.renderChat(tools.chatTemplate, messages, {
    bosToken: tokenizer.bosToken,
    eosToken: tokenizer.eosToken,
    addGenerationPrompt: true,
  });
  return tokenizer.encode(text, { addSpecialTokens: false });
}

function requireTokenizer({ tokenizer, where }: TextTools): Tokenizer {
  if (tokenizer !== undefined) return tokenizer;
  throw new TureenError("TOKENIZER_INVALID", "the model has no tokenizer.json", {
    where,
    hint: "Pass token ids instead of text.",
  });
}

function isMessage(item: unknown): item is ChatMessage {
  if (typeof item !== "object" || item === null) return false;
  const { role, content } = item as Partial<ChatMessage>;
  return typeof role === "string" && typeof content === "string";
}

function invalidPrompt(found: unknown): TureenError {
  return new TureenError("OPTION_INVALID", "the prompt is not usable", {
    expected: "text, a list of { role, content } messages, or a list of token ids",
    found: JSON.stringify(found)?.slice(0, 80) ?? typeof found,
  });
}

async function readText(
  files: FileSet,
  path: string,
  reading: ReadOptions,
): Promise<string | undefined> {
  const source = await files.open(path, reading);
  if (source === undefined) return undefined;
  try {
    if (source.size > MAX_TEMPLATE_BYTES) {
      throw new TureenError("FORMAT_INVALID", `${path} is too large`, {
        expected: `at most ${MAX_TEMPLATE_BYTES} bytes`,
        found: `${source.size} bytes`,
        where: source.name,
      });
    }
    return new TextDecoder().decode(await source.read(0, source.size, reading));
  } finally {
    await source.close();
  }
}
