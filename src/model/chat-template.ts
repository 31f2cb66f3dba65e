// Chat messages to prompt text, by the model's own Jinja template, with what transformers' `apply_chat_template` gives it.
// Does not tokenize: templates write special tokens as text. Loaded with the first model that has a template.
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";
import { TureenError } from "../errors.ts";
import { noTemplate } from "./find-chat-template.ts";

/** One turn of a conversation. */
export interface ChatMessage {
  /** `system`, `user`, `assistant`, or what else the template knows. */
  readonly role: string;
  readonly content: string;
}

export interface ChatContext {
  readonly bosToken?: string | undefined;
  readonly eosToken?: string | undefined;
  /** End with the beginning of an answer. */
  readonly addGenerationPrompt: boolean;
  /** The date of templates that print one. Default: the host's. */
  readonly now?: Date | undefined;
  /** More variables for the template, such as `date_string` or `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>> | undefined;
}

// A template runs as a program; a loop beyond this is no prompt.
const MAX_RANGE = 100_000;

/**
 * Renders messages. Tokenize the result without adding special tokens.
 *
 * @param template `undefined` for a model without one
 * @throws TureenError `OPTION_INVALID` if there is no template, or if it does not accept these messages; `TOKENIZER_INVALID` if
 * it is broken or needs a variable that is not given
 */
export function renderChat(
  template: string | undefined,
  messages: readonly ChatMessage[],
  context: ChatContext,
): string {
  if (template === undefined) throw noTemplate();
  checkMessages(messages);
  const program = parseTemplate(template);
  const missing = new Set<string>();
  const environment = makeEnvironment(messages, context, missing);
  try {
    return String(new Interpreter(environment).run(program).value);
  } catch (error) {
    if (error instanceof TureenError) throw error;
    if (error instanceof TemplateRefusal) {
      throw new TureenError("OPTION_INVALID", "the chat template refuses the messages", {
        found: JSON.stringify(error.message),
      });
    }
    const reason = error instanceof Error ? error.message : String(error);
    const wanted = missing.size === 0 ? "" : ` It asks for ${[...missing].join(", ")}.`;
    throw new TureenError(
      "TOKENIZER_INVALID",
      `the chat template failed: ${reason}`,
      { hint: `It may need more variables than a plain chat has, such as tools.${wanted}` },
      { cause: error },
    );
  }
}

/** The template called `raise_exception`. */
class TemplateRefusal extends Error {}

function parseTemplate(template: string): ReturnType<typeof parse> {
  try {
    // transformers' settings.
    return parse(tokenize(template, { lstrip_blocks: true, trim_blocks: true }));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new TureenError(
      "TOKENIZER_INVALID",
      `the chat template is not valid Jinja: ${reason}`,
      {},
      { cause: error },
    );
  }
}

/**
 * The variables of transformers' `apply_chat_template`. Made by hand, since the library's own `strftime_now` follows the host's
 * language, and a prompt must not.
 * @param missing receives the names that the template looks for in vain
 */
function makeEnvironment(
  messages: readonly ChatMessage[],
  context: ChatContext,
  missing: Set<string>,
): Environment {
  const now = context.now ?? new Date();
  const variables: Record<string, unknown> = {
    true: true,
    True: true,
    false: false,
    False: false,
    none: null,
    None: null,
    range,
    strftime_now: (format: string) => strftime(now, format),
    raise_exception: (message: string) => {
      throw new TemplateRefusal(message);
    },
    messages: messages.map((message) => ({ ...message })),
    tools: null,
    documents: null,
    add_generation_prompt: context.addGenerationPrompt,
    bos_token: context.bosToken ?? "",
    eos_token: context.eosToken ?? "",
    ...context.variables,
  };
  const environment = new Environment();
  for (const [name, value] of Object.entries(variables)) environment.set(name, value);
  const { variables: known } = environment;
  const has = known.has.bind(known);
  known.has = (name: string) => {
    if (!has(name)) missing.add(name);
    return has(name);
  };
  return environment;
}

function checkMessages(messages: readonly ChatMessage[]): void {
  const refuse = (expected: string, found: string, where = "messages"): TureenError =>
    new TureenError("OPTION_INVALID", "the messages are invalid", { expected, found, where });
  if (!Array.isArray(messages) || messages.length === 0) {
    throw refuse("at least one message", Array.isArray(messages) ? "none" : typeof messages);
  }
  for (const [i, message] of messages.entries()) {
    for (const field of ["role", "content"] as const) {
      const value: unknown = message?.[field];
      if (typeof value !== "string")
        throw refuse("a string", typeof value, `message ${i}, ${field}`);
    }
  }
}

/** Python's range(stop) or range(start, stop[, step]). */
function range(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const size = Math.max(0, Math.ceil((stop - start) / step));
  if (!(size <= MAX_RANGE)) throw new Error(`range() of ${size} numbers`);
  return Array.from({ length: size }, (_, i) => start + i * step);
}

const MONTHS =
  "January February March April May June July August September October November December";
const DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday";

/** Python's strftime in the C locale, for the codes that templates use. */
function strftime(date: Date, format: string): string {
  const two = (n: number): string => String(n).padStart(2, "0");
  const month = MONTHS.split(" ")[date.getMonth()] ?? "";
  const day = DAYS.split(" ")[date.getDay()] ?? "";
  const codes: Readonly<Record<string, string>> = {
    "%Y": String(date.getFullYear()),
    "%y": two(date.getFullYear() % 100),
    "%m": two(date.getMonth() + 1),
    "%B": month,
    "%b": month.slice(0, 3),
    "%d": two(date.getDate()),
    "%A": day,
    "%a": day.slice(0, 3),
    "%H": two(date.getHours()),
    "%I": two(date.getHours() % 12 || 12),
    "%M": two(date.getMinutes()),
    "%S": two(date.getSeconds()),
    "%p": date.getHours() < 12 ? "AM" : "PM",
    "%%": "%",
  };
  return format.replace(/%./g, (code) => codes[code] ?? code);
}
