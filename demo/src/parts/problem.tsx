// An error in the library's own words: what failed, what it needed, what it found, where, and what to do.
import { TureenError } from "tureen/worker";

const PARTS = [
  ["expected", "Needed"],
  ["found", "Found"],
  ["where", "Where"],
  ["hint", "What to do"],
] as const;

export function Problem({ error, what }: { readonly error: unknown; readonly what?: string }) {
  return (
    <div role="alert" class={error === undefined ? undefined : "problem"}>
      {error !== undefined && <Explanation error={error} what={what} />}
    </div>
  );
}

function Explanation({
  error,
  what,
}: {
  readonly error: unknown;
  readonly what: string | undefined;
}) {
  if (!(error instanceof TureenError)) {
    const message = error instanceof Error ? error.message : String(error);
    return (
      <p>
        <strong>{what ?? "That did not work."}</strong> {message}
      </p>
    );
  }
  const { code, details } = error;
  return (
    <>
      <p>
        <strong>{summarize(error)}</strong> <code>{code}</code>
      </p>
      <dl>
        {PARTS.map(([name, label]) =>
          details[name] === undefined ? null : (
            <div key={name}>
              <dt>{label}</dt>
              <dd>{details[name]}</dd>
            </div>
          ),
        )}
      </dl>
    </>
  );
}

/** The message without the parts that are listed below it. */
function summarize({ message, details }: TureenError): string {
  const facts = [
    details.expected && `expected ${details.expected}`,
    details.found && `found ${details.found}`,
  ].filter(Boolean);
  let what = message;
  if (details.hint) what = what.replace(`. ${details.hint}`, "");
  if (details.where) what = what.replace(` (${details.where})`, "");
  if (facts.length > 0) what = what.replace(`: ${facts.join(", ")}`, "");
  return `${what.charAt(0).toUpperCase()}${what.slice(1)}.`.replace(/\.\.$/, ".");
}
