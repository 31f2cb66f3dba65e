// What a hub's refusals mean, in words that say what to do.
import { TureenError } from "../errors.ts";
import { parseRetryAfter, Transient } from "./hub-transport.ts";

/** A file at a commit. */
export interface HubFile {
  readonly repo: string;
  readonly commit: string;
  readonly path: string;
}

/** The error for an answer that is not the content. Another attempt may help with some, which are `Transient`. */
export async function refusalOf(
  response: Response,
  where: string,
  repo: string,
): Promise<TureenError | Transient> {
  await response.body?.cancel();
  const { status } = response;
  const code = response.headers.get("x-error-code") ?? "";
  const found = `status ${status}${/^\w{1,40}$/.test(code) ? `, ${code}` : ""}`;
  const details = { expected: "status 200 or 206", found, where };
  if (status === 429 || status >= 500) {
    const what = status === 429 ? "the hub limits the rate of requests" : "the hub has a problem";
    const error = new TureenError("SOURCE_READ_FAILED", what, details);
    return new Transient(error, parseRetryAfter(response.headers.get("retry-after")));
  }
  if (code === "GatedRepo" || status === 403) {
    return new TureenError("SOURCE_READ_FAILED", `access to ${repo} is refused`, {
      ...details,
      hint: "It may be gated: accept its terms on its page at the hub, and give a token that may read it (HF_TOKEN, or the option hub.token).",
    });
  }
  if (status === 401) {
    return new TureenError("SOURCE_READ_FAILED", `${repo} is private, gated, or does not exist`, {
      ...details,
      hint: "Check the name. If it is right, give a token that may read it (HF_TOKEN, or the option hub.token).",
    });
  }
  if (status === 404 || status === 410) {
    const what =
      code === "RevisionNotFound"
        ? `${repo} has no such revision`
        : `the hub has no ${where.replace(/^\S+: /, "")}`;
    return new TureenError("SOURCE_NOT_FOUND", what, {
      ...details,
      hint: "Check the name and revision. Private repositories need a token that may read them.",
    });
  }
  return new TureenError("SOURCE_READ_FAILED", "the hub refused the request", details);
}

/** Why the content of an answer is not the range that was asked for. */
export function rangeUnmet(
  response: Response,
  { first, total, isWhole }: { first: number; total: number; isWhole: boolean },
): { what: string; expected: string; found: string; hint?: string } | undefined {
  if (response.status === 200 && !isWhole) {
    return {
      what: "the hub ignores range requests",
      expected: "status 206",
      found: "status 200",
      hint: "Large files need a server that supports range requests.",
    };
  }
  if (response.status !== 206) return undefined;
  const range = response.headers.get("content-range");
  // Hidden from scripts by some servers; the hash tells then.
  const match = range === null ? null : /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15}|\*)$/.exec(range);
  if (match === null) return undefined;
  if (Number(match[1]) === first && (match[2] === "*" || Number(match[2]) === total))
    return undefined;
  return {
    what: "the hub sent another range",
    expected: `bytes from ${first} of ${total}`,
    found: range ?? "none",
  };
}
