import type { Answer } from "../engine/answer.ts";
import { VERDICTS } from "../engine/questions.ts";
import { Problem } from "./problem.tsx";

interface Props {
  readonly name: string;
  readonly tone: string;
  readonly knows: string;
  readonly answer: Answer;
  /** Of the heading, by where the card stands. Default 3. */
  readonly level?: 2 | 3;
}

/** One cook's answer, with a verdict in words. The height is kept while it changes. */
export function CookCard({ name, tone, knows, answer, level = 3 }: Props) {
  const Heading = `h${level}` as const;
  const { text, verdict, isWriting } = answer.state.value;
  return (
    <article class="cook" data-tone={tone} data-cook={tone} aria-busy={isWriting}>
      <Heading>{name}</Heading>
      <p class="knows">{knows}</p>
      <p class="answer" data-verdict={verdict}>
        {text.trim() === "" ? <span class="waiting">…</span> : tidy(text)}
      </p>
      <p class="verdict" data-verdict={verdict}>
        {verdict === undefined ? "" : VERDICTS[verdict]}
      </p>
      {answer.problem.value !== undefined && <Problem error={answer.problem.value} />}
    </article>
  );
}

/** Line breaks within an answer are shown: they are part of what went wrong. */
function tidy(text: string): string {
  return text.trim().replace(/\n+/g, " ⏎ ");
}
