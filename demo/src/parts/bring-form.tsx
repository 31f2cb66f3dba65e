// Where a model comes from, and how its weights are held.
import { useSignal } from "@preact/signals";
import { type PickedFolder, sortFiles } from "../engine/dropped.ts";
import type { Guest } from "../engine/guest.ts";
import type { WeightChoice } from "../engine/parity.ts";
import { DropZone } from "./drop-zone.tsx";

const QUANTIZATIONS: readonly (readonly [WeightChoice, string, string])[] = [
  ["none", "f32", "as in the file, exactly"],
  ["q8", "q8", "9 bits a weight"],
  ["q4", "q4", "5 bits a weight, fastest"],
];

export function BringForm({ guest }: { readonly guest: Guest }) {
  const address = useSignal("");
  const quantize = useSignal<WeightChoice>("q8");
  const endpoint = useSignal("");
  const token = useSignal("");
  const dropped = useSignal<{ base: PickedFolder; adapters: readonly PickedFolder[] } | undefined>(
    undefined,
  );
  const isBusy = guest.loading.value !== undefined;

  const load = async (event: Event) => {
    event.preventDefault();
    const source = dropped.value?.base ?? address.value;
    if (typeof source === "string" && source.trim() === "") return;
    const hub = {
      ...(endpoint.value.trim() !== "" && { endpoint: endpoint.value.trim() }),
      ...(token.value.trim() !== "" && { token: token.value.trim() }),
    };
    await guest.load(source, { quantize: quantize.value, hub });
    for (const adapter of dropped.value?.adapters ?? []) await guest.addAdapter(adapter);
  };

  return (
    <form class="bring-form" onSubmit={(event) => void load(event)}>
      <label for="guest-model">Model</label>
      <input
        id="guest-model"
        type="text"
        autocomplete="off"
        spellcheck={false}
        placeholder="HuggingFaceTB/SmolLM2-135M-Instruct, or a URL"
        value={address.value}
        onInput={(event) => {
          address.value = event.currentTarget.value;
          dropped.value = undefined;
        }}
      />
      <DropZone
        label="or drop its files (GGUF too), with adapters if you like"
        onFiles={(files) => {
          const { base, adapters } = sortFiles(files);
          dropped.value = { base: base ?? { name: "", files: {} }, adapters };
        }}
      />
      {dropped.value !== undefined && (
        <p class="note" role="status">
          {describeDropped(dropped.value.base, dropped.value.adapters)}
        </p>
      )}
      <fieldset class="presets">
        <legend>Weights</legend>
        {QUANTIZATIONS.map(([value, label, says]) => (
          <label key={value} class="chip" title={says}>
            <input
              type="radio"
              name="quantize"
              checked={quantize.value === value}
              onChange={() => {
                quantize.value = value;
              }}
            />
            <span>{label}</span>
          </label>
        ))}
        <span class="note">{QUANTIZATIONS.find(([value]) => value === quantize.value)?.[2]}</span>
      </fieldset>
      <details>
        <summary>Hub address and token</summary>
        <label for="guest-endpoint">Address, if not huggingface.co</label>
        <input
          id="guest-endpoint"
          type="url"
          value={endpoint.value}
          onInput={(event) => {
            endpoint.value = event.currentTarget.value;
          }}
        />
        <label for="guest-token">Token, for private models; sent only there, kept nowhere</label>
        <input
          id="guest-token"
          type="password"
          autocomplete="off"
          value={token.value}
          onInput={(event) => {
            token.value = event.currentTarget.value;
          }}
        />
      </details>
      <div class="buttons">
        <button type="submit" class="primary" disabled={isBusy}>
          Load
        </button>
        <button
          type="button"
          disabled={isBusy}
          onClick={() => {
            address.value = "./kitchen/base";
            dropped.value = undefined;
          }}
        >
          Use the kitchen's files
        </button>
      </div>
    </form>
  );
}

function describeDropped(base: PickedFolder, adapters: readonly PickedFolder[]): string {
  const files = Object.keys(base.files).length;
  const model = `${base.name || "The model"}: ${files} ${files === 1 ? "file" : "files"}`;
  if (adapters.length === 0) return `${model}.`;
  return `${model}; adapters: ${adapters.map(({ name }) => name || "one").join(", ")}.`;
}
