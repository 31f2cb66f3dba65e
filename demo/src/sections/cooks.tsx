// One question, four cooks: base, each adapter, and the soup, side by side.

import { formatBytes, formatMs } from "../engine/format.ts";
import { kitchen, kitchenProblem, kitchenProgress } from "../engine/kitchen.ts";
import { VERDICTS } from "../engine/questions.ts";
import { askAll, cooks, drawQuestion, question } from "../engine/tasting.ts";
import { CookCard } from "../parts/cook-card.tsx";
import { Problem } from "../parts/problem.tsx";
import { Progress } from "../parts/progress.tsx";

const COOKS = [
  { id: "base", name: "Base", knows: "Plain English, and other robots" },
  { id: "knowledge", name: "Facts", knows: "Has read of these robots, never saw a question" },
  { id: "format", name: "Answers", knows: "Answers questions, never met these robots" },
  { id: "soup", name: "Soup", knows: "Both adapters at once" },
] as const;

export function CooksSection() {
  const isOpen = kitchen.value !== undefined;
  const ask = (event: Event) => {
    event.preventDefault();
    if (isOpen) void askAll();
  };
  return (
    <section id="taste" class="section hero" aria-labelledby="taste-title" tabIndex={-1}>
      <div class="section-head">
        <h1 id="taste-title">One question, four cooks</h1>
        <p class="lead">
          A small language model and two LoRA adapters, trained apart. Blended while they run, they
          answer what neither can alone.
        </p>
      </div>
      <form class="question" onSubmit={ask}>
        <label for="question">Question about a robot</label>
        <div class="question-row">
          <input
            id="question"
            type="text"
            autocomplete="off"
            maxLength={160}
            value={question.value}
            onInput={(event) => {
              question.value = event.currentTarget.value;
            }}
          />
          <button type="submit" class="primary" disabled={!isOpen}>
            Ask
          </button>
          <button
            type="button"
            disabled={!isOpen}
            onClick={() => {
              drawQuestion();
              void askAll();
            }}
          >
            Another question
          </button>
        </div>
      </form>
      <ul class="cooks">
        {COOKS.map(({ id, name, knows }) => (
          <li key={id}>
            <CookCard name={name} tone={id} knows={knows} answer={cooks[id]} level={2} />
          </li>
        ))}
      </ul>
      <p class="why">
        The base rambles, <b data-tone="knowledge">facts</b> goes on reciting,{" "}
        <b data-tone="format">answers</b> replies in form and guesses. The{" "}
        <b data-tone="soup">soup</b> adds both adapters' changes to every layer: the fact comes from
        one, the form from the other.
      </p>
      <Opening />
      <p class="visually-hidden" role="status">
        {summarize()}
      </p>
    </section>
  );
}

/** For those who hear the page: the soup's answer, once all have answered. */
function summarize(): string {
  const states = Object.values(cooks).map(({ state }) => state.value);
  const { text, verdict } = cooks.soup.state.value;
  if (verdict === undefined || states.some(({ isWriting }) => isWriting)) return "";
  return `The soup answers: ${text.trim()} ${VERDICTS[verdict]}`;
}

/** Keeps its line when it is done: nothing moves. */
function Opening() {
  const { bytesDone, bytesTotal } = kitchenProgress.value;
  if (kitchen.value !== undefined) {
    return (
      <p class="opening note">
        {formatBytes(bytesTotal)} of model, adapters and questions, ready after{" "}
        {formatMs(kitchen.value.readyMs)}. Kept in this browser: the next visit needs no network.
      </p>
    );
  }
  if (kitchenProblem.value !== undefined) {
    return (
      <div class="opening">
        <Problem error={kitchenProblem.value} what="The kitchen could not be opened." />
        <button type="button" onClick={() => location.reload()}>
          Try again
        </button>
      </div>
    );
  }
  return (
    <div class="opening">
      <Progress
        label="Opening the kitchen"
        done={bytesDone}
        total={bytesTotal}
        note={`${formatBytes(bytesDone)} of ${bytesTotal > 1 ? formatBytes(bytesTotal) : "a few MB"}`}
      />
    </div>
  );
}
