// Name and table of contents. Links scroll by script: the address holds the soup.
import { kitchen, kitchenProblem } from "../engine/kitchen.ts";

const SECTIONS = [
  ["taste", "Taste"],
  ["season", "Season"],
  ["learn", "Learn"],
  ["bring", "Bring a model"],
  ["machine", "Machine"],
] as const;

export function scrollTo(id: string): void {
  const target = document.getElementById(id);
  target?.scrollIntoView();
  target?.focus({ preventScroll: true });
}

function describe(threads: number | undefined): string {
  if (kitchenProblem.value !== undefined) return "The kitchen is closed";
  if (threads === undefined) return "Opening the kitchen…";
  return `Runs in this page, on ${threads === 1 ? "one thread" : `${threads} threads`}`;
}

export function Header() {
  return (
    <header class="header">
      <p class="wordmark">Tureen</p>
      <nav aria-label="Sections">
        <ul>
          {SECTIONS.map(([id, label]) => (
            <li key={id}>
              <a
                href={`#${id}`}
                onClick={(event) => {
                  event.preventDefault();
                  scrollTo(id);
                }}
              >
                {label}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <p class="status" role="status">
        {describe(kitchen.value?.threads)}
      </p>
    </header>
  );
}
