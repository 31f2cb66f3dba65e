// The one error type of the library. Every failure a caller can cause or meet has a stable `code`; the message says what
// failed, what was expected, what was found, where, and what to do.

/** Stable identifiers of everything that can go wrong. New ones may be added; existing ones do not change meaning. */
export type ErrorCode =
  | "SOURCE_NOT_FOUND" // a file, URL or entry does not exist
  | "SOURCE_READ_FAILED" // it exists but could not be read (network, permissions, short read)
  | "SOURCE_WRITE_FAILED" // output could not be written
  | "FORMAT_INVALID" // bytes that do not follow their format: truncated, overlapping, lying header, bad JSON
  | "FORMAT_UNSUPPORTED" // a valid file with a feature or dtype that is not supported
  | "MODEL_CONFIG_INVALID" // config.json misses or contradicts something
  | "MODEL_UNSUPPORTED" // an architecture or option outside what the decoder implements
  | "MODEL_TENSOR_MISSING"
  | "MODEL_TENSOR_MISMATCH" // a tensor whose shape disagrees with the config
  | "WEIGHTS_NOT_FINITE" // NaN or infinity in a weight tensor
  | "LOGITS_NOT_FINITE" // the model computed NaN or infinity: broken weights, or soup weights far too large
  | "TOKENIZER_INVALID"
  | "ADAPTER_CONFIG_INVALID"
  | "ADAPTER_UNSUPPORTED" // DoRA and every PEFT type other than LoRA
  | "ADAPTER_MISMATCH" // trained for another base, or tensors that disagree with the adapter's own config
  | "ADAPTER_DUPLICATE" // the name is taken
  | "ADAPTER_NOT_FOUND"
  | "SOUP_INVALID"
  | "TOKEN_OUT_OF_RANGE"
  | "PROMPT_TOO_LONG"
  | "OPTION_INVALID"
  | "BACKEND_UNAVAILABLE"
  | "BACKEND_FAILED" // a kernel trapped or a worker died; the model must be disposed
  | "OUT_OF_MEMORY"
  | "ABORTED"
  | "DISPOSED";

/** The parts of an error's message, kept for programs. All values are printable. */
export interface ErrorDetails {
  /** What the library needed. */
  readonly expected?: string;
  /** What it got. */
  readonly found?: string;
  /** File, tensor, option or position the error is about. */
  readonly where?: string;
  /** What the caller can do about it. */
  readonly hint?: string;
}

/**
 * Thrown by every public function.
 * `message` is one line: `what: expected …, found … (where). hint`.
 */
export class TureenError extends Error {
  override readonly name = "TureenError";
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(
    code: ErrorCode,
    what: string,
    details: ErrorDetails = {},
    options?: { cause?: unknown },
  ) {
    const printable: ErrorDetails = Object.fromEntries(
      Object.entries(details).map(([key, value]) => [key, toPrintable(value)]),
    );
    super(formatMessage(toPrintable(what), printable), options);
    this.code = code;
    this.details = printable;
  }
}

/** Throws `ABORTED` if the signal is aborted, keeping its reason as `cause`. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new TureenError("ABORTED", "the operation was aborted", {}, { cause: signal.reason });
  }
}

/** Longest part of a message, in UTF-16 units. */
const MAX_PART_LENGTH = 500;

/** Names from files end up in messages: they may neither control a terminal, break the line, nor be megabytes long. */
function toPrintable(text: string): string {
  const short = text.length <= MAX_PART_LENGTH ? text : `${text.slice(0, MAX_PART_LENGTH - 3)}...`;
  return short.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    return `\\u{${character.codePointAt(0)?.toString(16)}}`;
  });
}

function formatMessage(what: string, { expected, found, where, hint }: ErrorDetails): string {
  const facts: string[] = [];
  if (expected !== undefined) facts.push(`expected ${expected}`);
  if (found !== undefined) facts.push(`found ${found}`);
  let message = what;
  if (facts.length > 0) message += `: ${facts.join(", ")}`;
  if (where !== undefined) message += ` (${where})`;
  if (hint !== undefined) message += `. ${hint}`;
  return message;
}
