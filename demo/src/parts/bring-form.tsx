// Where a model comes from, and how its weights are held.
import { useSignal } from "@preact/signals";
import { type FileAt, isGguf, type PickedFolder } from "../engine/dropped.ts";
import type { Guest } from "../engine/guest.ts";
import { DropZone } from "./drop-zone.tsx";

export const ADDRESSES = "org/name, org/name/file.gguf or a URL";

const EXAMPLE = "HuggingFaceTB/SmolLM2-135M-Instruct";

/** By label: what `quantize` is then, and in words. */
const WEIGHTS = {
  "as in the file": [undefined, "floats exactly, GGUF types as q8 or q4"],
  q8: ["q8", "9 bits a weight"],
  q4: ["q4", "5 bits a weight, fastest"],
} as const;

export function BringForm({ guest }: { readonly guest: Guest }) {
  const address = useSignal("");
  const chosen = useSignal<keyof typeof WEIGHTS | undefined>(undefined);
  const base = useSignal<PickedFolder | undefined>(undefined);
  const adapters = useSignal<readonly PickedFolder[]>([]);
  const unused = useSignal<readonly PickedFolder[]>([]);
  const isBusy = guest.loading.value !== undefined;
  const inTypes = base.value ? isGguf(base.value) : /\.gguf($|\?)/i.test(address.value.trim());
  const weights = chosen.value ?? (inTypes ? "as in the file" : "q8");

  const load = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    const field = (name: string) => String(form.get(name)).trim() || undefined;
    const hub = { endpoint: field("endpoint"), token: field("token") };
    await guest.load(base.value ?? address.value, { quantize: WEIGHTS[weights][0], hub });
    await guest.addAdapters(adapters.value);
  };
  const take = async (files: readonly FileAt[]) => {
    const sorted = await guest.sort(files);
    if (sorted === undefined) return;
    base.value = sorted.base ?? base.value;
    adapters.value = [...adapters.value, ...sorted.adapters];
    unused.value = sorted.unused;
  };
  /** The model is another one now; adapters stay. */
  const name = (text: string) => {
    address.value = text;
    base.value = undefined;
    unused.value = [];
  };

  return (
    <form class="bring-form" onSubmit={(event) => void load(event)}>
      <label for="guest-model">Model</label>
      <input
        id="guest-model"
        type="text"
        autocomplete="off"
        spellcheck={false}
        placeholder={ADDRESSES}
        value={address.value}
        onInput={(event) => name(event.currentTarget.value)}
      />
      <DropZone
        label="or drop its files (GGUF too), with adapters if you like"
        disabled={isBusy}
        onFiles={(files) => void take(files)}
      />
      {(base.value !== undefined || adapters.value.length > 0) && (
        <div class="buttons">
          <span class="note" role="status">
            {describe("Model", base.value ? [base.value] : [])}
            {describe("Adapters", adapters.value)}
            {describe("Not used", unused.value)}
          </span>
          <button
            type="button"
            class="small"
            onClick={() => {
              name(address.value);
              adapters.value = [];
            }}
          >
            Remove
          </button>
        </div>
      )}
      <fieldset class="presets">
        <legend>Weights</legend>
        {(Object.keys(WEIGHTS) as (keyof typeof WEIGHTS)[]).map((label) => (
          <label key={label} class="chip">
            <input
              type="radio"
              name="quantize"
              checked={label === weights}
              onChange={() => {
                chosen.value = label;
              }}
            />
            <span>{label}</span>
          </label>
        ))}
        <span class="note">{WEIGHTS[weights][1]}</span>
      </fieldset>
      <details>
        <summary>Hub address and token</summary>
        <label for="guest-endpoint">Address, if not huggingface.co</label>
        <input id="guest-endpoint" name="endpoint" type="url" />
        <label for="guest-token">Token, for private models; sent only there, kept nowhere</label>
        <input id="guest-token" name="token" type="password" autocomplete="off" />
      </details>
      <div class="buttons">
        <button type="submit" class="primary" disabled={isBusy}>
          Load
        </button>
        <button type="button" disabled={isBusy} onClick={() => name("./kitchen/base")}>
          Use the kitchen's files
        </button>
        <button type="button" disabled={isBusy} onClick={() => name(EXAMPLE)}>
          SmolLM2, 270 MB
        </button>
      </div>
    </form>
  );
}

function describe(what: string, folders: readonly PickedFolder[]): string {
  if (folders.length === 0) return "";
  const names = folders.map(({ name, files }) => name || Object.keys(files).join(", "));
  return `${what}: ${names.join(", ")}. `;
}
