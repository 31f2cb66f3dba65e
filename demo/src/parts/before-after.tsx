import { percent } from "../engine/format.ts";
import type { Score } from "../engine/learning.ts";

interface Props {
  readonly before: Score | undefined;
  readonly after: Score | undefined;
  readonly total: number;
}

/** Accuracy on questions that need both skills, of which no example was shown. */
export function BeforeAfter({ before, after, total }: Props) {
  return (
    <dl class="before-after">
      <div>
        <dt>Equal weights</dt>
        <dd>
          <Figure score={before} total={total} />
        </dd>
      </div>
      <div data-tone="soup">
        <dt>Learned weights</dt>
        <dd>
          <Figure score={after} total={total} />
        </dd>
      </div>
    </dl>
  );
}

function Figure({ score, total }: { readonly score: Score | undefined; readonly total: number }) {
  const note =
    score === undefined
      ? `of ${total} held-out questions`
      : `${score.right} of ${score.asked} questions`;
  return (
    <>
      <span class="big">{score === undefined ? "–" : percent(score.right, score.asked)}</span>
      <span class="note">{note}</span>
    </>
  );
}
