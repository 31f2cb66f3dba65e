// Models of a visitor's own: from the Hub, a URL, or files that never leave the machine.
import { common, mean } from "../engine/blend.ts";
import { formatBytes } from "../engine/format.ts";
import { Guest, type GuestModel } from "../engine/guest.ts";
import { AdapterForm } from "../parts/adapter-form.tsx";
import { BringForm } from "../parts/bring-form.tsx";
import { ChatPanel } from "../parts/chat-panel.tsx";
import { HeatMap } from "../parts/heat-map.tsx";
import { Problem } from "../parts/problem.tsx";
import { Progress } from "../parts/progress.tsx";
import { Section } from "../parts/section.tsx";
import { Slider } from "../parts/slider.tsx";
import { SoupFiles } from "../parts/soup-files.tsx";

/** Of adapters that have none: brought ones take turns. */
const TONES = ["knowledge", "format", "soup", "base"];

const guest = new Guest();

export function BringSection() {
  const loaded = guest.loaded.value;
  return (
    <Section
      id="bring"
      title="Bring your own"
      lead="A model of the Llama family and its LoRA adapters, in safetensors or GGUF: from the Hub, from a URL, or dropped here. Files stay on this machine."
    >
      <div class="bench">
        <div class="panel">
          {loaded === undefined ? <BringForm guest={guest} /> : <Loaded loaded={loaded} />}
          <Loading />
          {guest.problems.value.map((problem, i) => (
            <Problem key={i} error={problem} />
          ))}
          {guest.warnings.value.map((warning) => (
            <p key={warning} class="note warning" role="status">
              {warning}
            </p>
          ))}
        </div>
        <div class="panel">
          {loaded === undefined ? (
            <p class="placeholder note">The chat opens with the model.</p>
          ) : (
            <ChatPanel chat={loaded.chat} blend={loaded.blend} />
          )}
        </div>
        {loaded !== undefined && loaded.blend.adapters.value.length > 0 && (
          <GuestMaps loaded={loaded} />
        )}
      </div>
    </Section>
  );
}

function Loading() {
  const name = guest.loading.value;
  if (name === undefined) return null;
  const progress = guest.progress.value;
  const doing = progress?.phase === "load" ? "packing" : "fetching";
  const bytes =
    progress && `${formatBytes(progress.bytesDone)} of ${formatBytes(progress.bytesTotal)}`;
  const rate = progress?.bytesPerSecond ? `, ${formatBytes(progress.bytesPerSecond)}/s` : "";
  return (
    <div class="buttons">
      <Progress
        label={`Loading ${name}`}
        done={progress?.bytesDone ?? 0}
        total={progress?.bytesTotal ?? 1}
        note={bytes === undefined ? `opening ${name}…` : `${doing} ${bytes}${rate}`}
      />
      <button type="button" onClick={() => guest.cancel()}>
        Cancel
      </button>
    </div>
  );
}

function Loaded({ loaded }: { readonly loaded: GuestModel }) {
  const { info, blend } = loaded;
  const { backend } = info;
  return (
    <>
      <p class="loaded" role="status">
        <b>{info.name}</b>
        <span class="note">
          {info.config.layers} layers, {formatBytes(info.weightBytes)}{" "}
          {info.weightType === "mixed" ? "in several types" : `as ${info.weightType}`},{" "}
          {backend.name} {backend.build}, {backend.threads}{" "}
          {backend.threads === 1 ? "thread" : "threads"} ({backend.reason})
        </span>
      </p>
      {blend.adapters.value.map(({ name }, i) => {
        const table = blend.weights.value[name] ?? new Float32Array(1);
        const one = common(table);
        return (
          <Slider
            key={name}
            label={name}
            tone={TONES[i % TONES.length]!}
            value={one ?? mean(table)}
            isMixed={one === undefined}
            onInput={(value) => void blend.set(name, value)}
          />
        );
      })}
      <AdapterForm guest={guest} />
      {blend.adapters.value.length > 0 && <SoupFiles blend={blend} onOpened={() => {}} />}
      <div class="buttons">
        <button type="button" onClick={() => guest.close()}>
          Close this model
        </button>
        <span class="note">gives its memory back</span>
      </div>
    </>
  );
}

function GuestMaps({ loaded: { blend } }: { readonly loaded: GuestModel }) {
  return (
    <details class="panel wide">
      <summary>One weight per linear layer</summary>
      <div class="maps">
        {blend.adapters.value.map((info, i) => (
          <HeatMap
            key={info.name}
            info={info}
            label={info.name}
            tone={TONES[i % TONES.length]!}
            weights={blend.weights.value[info.name] ?? new Float32Array(info.linears.length)}
            onChange={(paths, change) => void blend.setLinears(info.name, paths, change)}
          />
        ))}
      </div>
    </details>
  );
}
