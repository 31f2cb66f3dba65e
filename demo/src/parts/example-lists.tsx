// What is learned from, to read: examples of one skill each.
import type { Examples } from "../engine/learning.ts";

export function ExampleLists({ examples }: { readonly examples: Examples | undefined }) {
  const facts = examples?.facts.map(({ text }) => text) ?? [];
  const answers =
    examples?.answers.map(({ prompt, completion }) => {
      return `${prompt.replace(/^### Question: /, "").replace(/\n### Answer:$/, "")}${completion}`;
    }) ?? [];
  return (
    <div class="examples">
      <List tone="knowledge" label="Facts, in statements" items={facts} />
      <List tone="format" label="Answers, about other robots" items={answers} />
    </div>
  );
}

interface ListProps {
  readonly tone: string;
  readonly label: string;
  readonly items: readonly string[];
}

function List({ tone, label, items }: ListProps) {
  return (
    <details data-tone={tone}>
      <summary>
        <b>{items.length === 0 ? "…" : items.length}</b> {label}
        <span class="sample note">{items[0] ?? "\u00a0"}</span>
      </summary>
      {/* Long lists scroll: they take focus for the keyboard. */}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scroll region has to be reachable */}
      <ul tabIndex={0} aria-label={label}>
        {items.map((item) => (
          <li key={item}>{item}</li>
        ))}
      </ul>
    </details>
  );
}
