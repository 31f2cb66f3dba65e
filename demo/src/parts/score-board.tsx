// The held-out questions, all of them, put to the soup as it is; scores of earlier soups stay for comparison.
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { countRight } from "../engine/answer.ts";
import { percent } from "../engine/format.ts";
import type { Kitchen } from "../engine/kitchen.ts";
import { findPreset } from "../engine/methods.ts";
import { method, served } from "../engine/tasting.ts";
import { Problem } from "./problem.tsx";
import { Progress } from "./progress.tsx";

interface Row {
  readonly label: string;
  readonly right: number;
}

const KEPT = 6;

export function ScoreBoard({ kitchen }: { readonly kitchen: Kitchen }) {
  const rows = useSignal<readonly Row[]>([]);
  const asked = useSignal<number | undefined>(undefined);
  const problem = useSignal<unknown>(undefined);
  const controller = useRef(new AbortController());
  const total = kitchen.questions.length;

  const score = async () => {
    controller.current = new AbortController();
    const { signal } = controller.current;
    const label = findPreset(method.value)?.label ?? "Your weights";
    asked.value = 0;
    problem.value = undefined;
    try {
      const { model, questions } = kitchen;
      const right = await countRight(model, questions, served.value, signal, (done) => {
        asked.value = done;
      });
      const others = rows.value.filter((row) => row.label !== label);
      rows.value = [...others, { label, right }].slice(-KEPT);
    } catch (error) {
      if (!signal.aborted) problem.value = error;
    }
    asked.value = undefined;
  };

  return (
    <div class="scores">
      <div class="buttons">
        {asked.value === undefined ? (
          <button type="button" disabled={served.value === undefined} onClick={() => void score()}>
            Put all {total} questions to it
          </button>
        ) : (
          <>
            <button type="button" onClick={() => controller.current.abort()}>
              Stop
            </button>
            <Progress
              label="Questions asked"
              done={asked.value}
              total={total}
              note={`${asked.value} of ${total}`}
            />
          </>
        )}
      </div>
      <Problem error={problem.value} />
      {rows.value.length > 0 && (
        <table>
          <caption class="visually-hidden">Questions answered to the letter</caption>
          <tbody>
            {rows.value.map(({ label, right }) => (
              <tr key={label}>
                <th scope="row">{label}</th>
                <td class="bar">
                  <span style={{ "--share": right / total }} />
                </td>
                <td class="number">
                  {right} of {total}
                </td>
                <td class="number">{percent(right, total)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </div>
  );
}
