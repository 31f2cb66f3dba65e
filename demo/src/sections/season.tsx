// Weights by hand: sliders, a heat map of single layers, and presets for every merge method.
import { useSignal } from "@preact/signals";
import { common, mean } from "../engine/blend.ts";
import { formatMicroseconds, formatMs } from "../engine/format.ts";
import { type Kitchen, kitchen, LABELS } from "../engine/kitchen.ts";
import { findPreset } from "../engine/methods.ts";
import {
  choose,
  cooks,
  merged,
  method,
  question,
  reweighted,
  served,
  tastingProblem,
} from "../engine/tasting.ts";
import { CookCard } from "../parts/cook-card.tsx";
import { CopyLink } from "../parts/copy-link.tsx";
import { HeatMap } from "../parts/heat-map.tsx";
import { Presets } from "../parts/presets.tsx";
import { Problem } from "../parts/problem.tsx";
import { ScoreBoard } from "../parts/score-board.tsx";
import { Section } from "../parts/section.tsx";
import { Slider } from "../parts/slider.tsx";
import { SoupFiles } from "../parts/soup-files.tsx";

export function SeasonSection() {
  return (
    <Section
      id="season"
      title="Season to taste"
      lead="A soup is a handful of numbers. Changing them moves no weight and loads nothing, so the answer follows your hand."
    >
      {kitchen.value === undefined ? (
        <p class="placeholder note">Opens with the kitchen.</p>
      ) : (
        <Seasoning kitchen={kitchen.value} />
      )}
    </Section>
  );
}

function Seasoning({ kitchen }: { readonly kitchen: Kitchen }) {
  const isFine = useSignal(false);
  const { blend } = kitchen;
  const preset = findPreset(method.value);
  const showsMap =
    isFine.value ||
    blend.adapters.value.some(({ name }) => common(blend.weights.value[name]!) === undefined);
  return (
    <div class="bench">
      <div class="panel">
        <Presets chosen={method.value} onChoose={(id) => void choose(id)} />
        <p class="note says">{preset?.says ?? "Weights of your own."}</p>
        {blend.adapters.value.map(({ name }) => {
          const table = blend.weights.value[name]!;
          const one = common(table);
          return (
            <Slider
              key={name}
              label={LABELS[name] ?? name}
              tone={name}
              value={one ?? mean(table)}
              isMixed={one === undefined}
              onInput={(value) => {
                void blend.set(name, value);
                void reweighted();
              }}
            />
          );
        })}
        <label class="switch">
          <input
            type="checkbox"
            role="switch"
            checked={showsMap}
            aria-checked={showsMap}
            onChange={(event) => {
              isFine.value = event.currentTarget.checked;
              if (!isFine.value && method.value !== "uniform") void choose("uniform");
            }}
          />
          One weight per linear layer
        </label>
        <p class="timing" aria-live="off">
          <Timing />
        </p>
      </div>
      <div class="panel">
        <p class="asked note">{question.value}</p>
        <CookCard name="Soup" tone="soup" knows={describeMethod()} answer={cooks.soup} />
        <ScoreBoard kitchen={kitchen} />
      </div>
      {showsMap && (
        <div class="panel wide">
          <div class="maps">
            {blend.adapters.value.map((info) => (
              <HeatMap
                key={info.name}
                info={info}
                label={LABELS[info.name] ?? info.name}
                tone={info.name}
                weights={blend.weights.value[info.name]!}
                onChange={(paths, change) => {
                  void blend.setLinears(info.name, paths, change);
                  void reweighted();
                }}
              />
            ))}
          </div>
          <p class="note">
            Linear layers down, decoder layers across. Drag a cell sideways, or a heading for its
            whole row or column; with the keyboard, arrows move and + and − change.
          </p>
          <div class="buttons">
            <button type="button" onClick={() => void choose("uniform")}>
              Reset to uniform
            </button>
            <button type="button" onClick={() => void choose("learned")}>
              Reset to learned
            </button>
          </div>
        </div>
      )}
      <div class="wide">
        <Problem error={tastingProblem.value} />
        <div class="row">
          <SoupFiles blend={blend} soup={served.value} onOpened={() => void reweighted()} />
          <CopyLink />
        </div>
      </div>
    </div>
  );
}

function describeMethod(): string {
  const preset = findPreset(method.value);
  if (preset === undefined) return "Weights of your own";
  return preset.merge === undefined ? preset.label : `${preset.label}, merged into one adapter`;
}

/** What the last change cost: live weights cost nothing, merging does. */
function Timing() {
  const preset = findPreset(method.value);
  const { ms } = cooks.soup.state.value;
  const answered = ms === undefined ? "" : `, answered in ${formatMs(ms)}`;
  if (preset?.merge !== undefined) {
    return merged.value === undefined ? (
      <>Merging…</>
    ) : (
      <>
        Merged in <b>{formatMs(merged.value.ms)}</b>
        {answered}
      </>
    );
  }
  const us = kitchen.value?.blend.microseconds.value;
  return us === undefined ? (
    <>&nbsp;</>
  ) : (
    <>
      Re-weighted in <b>{formatMicroseconds(us)}</b>
      {answered}
    </>
  );
}
