// Learning the soup in the page: the examples, the loss as it falls, the weights as they move, and what it was worth.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { expand } from "../engine/blend.ts";
import { formatMs } from "../engine/format.ts";
import { type Kitchen, kitchen, LABELS } from "../engine/kitchen.ts";
import {
  type Examples,
  Learning,
  pickQuestions,
  readExamples,
  type Scales,
} from "../engine/learning.ts";
import { reweighted } from "../engine/tasting.ts";
import { BeforeAfter } from "../parts/before-after.tsx";
import { ExampleLists } from "../parts/example-lists.tsx";
import { scrollTo } from "../parts/header.tsx";
import { HeatMap } from "../parts/heat-map.tsx";
import { LossChart } from "../parts/loss-chart.tsx";
import { Problem } from "../parts/problem.tsx";
import { Section } from "../parts/section.tsx";

const learning = new Learning();

export function LearnSection() {
  return (
    <Section
      id="learn"
      title="Let it learn the recipe"
      lead="A few examples of each skill, none of both, teach one weight per adapter and linear layer. Base and adapters stay as they are."
    >
      {kitchen.value === undefined ? (
        <p class="placeholder note">Opens with the kitchen.</p>
      ) : (
        <Lesson kitchen={kitchen.value} />
      )}
    </Section>
  );
}

function Lesson({ kitchen }: { readonly kitchen: Kitchen }) {
  const scales = useSignal<Scales>("spoiled");
  const examples = useSignal<Examples | undefined>(undefined);
  useEffect(() => {
    void readExamples(kitchen).then((read) => {
      examples.value = read;
    });
  }, [kitchen]);
  const phase = learning.phase.value;
  const isBusy = phase !== "idle" && phase !== "done";
  const adopt = async () => {
    await kitchen.blend.apply(learning.toTrainedScale(scales.value));
    await reweighted();
    scrollTo("season");
  };
  return (
    <div class="bench">
      <div class="panel">
        <ScaleChoice
          value={scales.value}
          disabled={isBusy}
          onChange={(value) => {
            scales.value = value;
          }}
        />
        <ExampleLists examples={examples.value} />
        <div class="buttons">
          {isBusy ? (
            <button type="button" onClick={() => learning.stop()}>
              {phase === "learning" ? "Stop and keep the best" : "Stop"}
            </button>
          ) : (
            <button
              type="button"
              class="primary"
              disabled={examples.value === undefined}
              onClick={() => void learning.run(kitchen, scales.value, examples.value!)}
            >
              {phase === "done" ? "Learn again" : "Learn the soup"}
            </button>
          )}
          <button
            type="button"
            disabled={learning.after.value === undefined || isBusy}
            onClick={() => void adopt()}
          >
            Serve it above
          </button>
        </div>
        <p class="note" role="status">
          {describePhase()}
        </p>
        <Problem error={learning.problem.value} />
      </div>
      <div class="panel">
        <BeforeAfter
          before={learning.before.value}
          after={learning.after.value}
          total={pickQuestions(kitchen).length}
        />
        <figure>
          <figcaption>
            <b>Loss</b>{" "}
            <span class="note">
              thin: each batch; bold: examples kept aside; ring: the weights that were kept
            </span>
          </figcaption>
          <LossChart {...learning.curve.value} />
        </figure>
      </div>
      <div class="panel wide">
        <div class="maps">
          {kitchen.blend.adapters.value.map((info) => (
            <HeatMap
              key={info.name}
              info={info}
              label={LABELS[info.name] ?? info.name}
              tone={info.name}
              weights={expand(info, learning.weights.value[info.name] ?? 1)}
            />
          ))}
        </div>
      </div>
    </div>
  );
}

function describePhase(): string {
  const { steps, losses, bestStep } = learning.curve.value;
  const seconds = learning.seconds.value;
  switch (learning.phase.value) {
    case "idle":
      return "Takes some five seconds.";
    case "before":
      return "Asking the held-out questions with uniform weights…";
    case "learning":
      return `Step ${losses.length} of ${steps || "…"}`;
    case "after":
      return "Asking the held-out questions with the learned weights…";
    default: {
      if (seconds === undefined) return "Stopped.";
      const how = learning.stopped.value ? "Stopped" : "Learned";
      return `${how} after ${losses.length} steps in ${formatMs(seconds * 1000)}; kept the weights of step ${bestStep}.`;
    }
  }
}

interface ScaleProps {
  readonly value: Scales;
  readonly disabled: boolean;
  readonly onChange: (value: Scales) => void;
}

function ScaleChoice({ value, disabled, onChange }: ScaleProps) {
  const option = (scales: Scales, title: string, says: string) => (
    <label class="option">
      <input
        type="radio"
        name="scales"
        checked={value === scales}
        disabled={disabled}
        onChange={() => onChange(scales)}
      />
      <span>
        <b>{title}</b> <span class="note">{says}</span>
      </span>
    </label>
  );
  return (
    <fieldset class="options">
      <legend>Adapters' scales</legend>
      {option(
        "spoiled",
        "Out of balance",
        "Facts twice as strong, answers half: equal weights fail, learning mends it.",
      )}
      {option(
        "trained",
        "As trained",
        "They agree already: equal weights do well, and learning gains next to nothing.",
      )}
    </fieldset>
  );
}
