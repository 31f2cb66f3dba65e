// One more adapter for a loaded model.
import { useSignal } from "@preact/signals";
import { sortFiles } from "../engine/dropped.ts";
import type { Guest } from "../engine/guest.ts";
import { DropZone } from "./drop-zone.tsx";

export function AdapterForm({ guest }: { readonly guest: Guest }) {
  const address = useSignal("");
  const isBusy = guest.loading.value !== undefined;
  const add = async (event: Event) => {
    event.preventDefault();
    if (address.value.trim() === "") return;
    await guest.addAdapter(address.value);
    if (guest.problem.value === undefined) address.value = "";
  };
  return (
    <form class="bring-form" onSubmit={(event) => void add(event)}>
      <label for="guest-adapter">Add an adapter</label>
      <div class="question-row">
        <input
          id="guest-adapter"
          type="text"
          autocomplete="off"
          spellcheck={false}
          placeholder="user/adapter, or a URL"
          value={address.value}
          onInput={(event) => {
            address.value = event.currentTarget.value;
          }}
        />
        <button type="submit" disabled={isBusy}>
          Add
        </button>
      </div>
      <DropZone
        label="or drop its folder or files"
        onFiles={async (files) => {
          const { adapters, base } = sortFiles(files);
          const all = adapters.length > 0 ? adapters : [base ?? { name: "", files: {} }];
          for (const folder of all) await guest.addAdapter(folder);
        }}
      />
    </form>
  );
}
