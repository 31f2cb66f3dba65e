// One more adapter for a loaded model.
import type { FileAt } from "../engine/dropped.ts";
import type { Guest } from "../engine/guest.ts";
import { ADDRESSES } from "./bring-form.tsx";
import { DropZone } from "./drop-zone.tsx";

export function AdapterForm({ guest }: { readonly guest: Guest }) {
  const isBusy = guest.loading.value !== undefined;
  const add = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    await guest.addAdapters([String(new FormData(form).get("address"))]);
    if (guest.problems.value.length === 0) form.reset();
  };
  const take = async (files: readonly FileAt[]) => {
    const sorted = await guest.sort(files);
    if (sorted === undefined) return;
    // a model among them is refused in the library's own words
    const { adapters, base, problems } = sorted;
    await guest.addAdapters(base === undefined ? adapters : [...adapters, base], problems);
  };
  return (
    <form class="bring-form" onSubmit={(event) => void add(event)}>
      <label for="guest-adapter">Add an adapter</label>
      <div class="question-row">
        <input
          id="guest-adapter"
          name="address"
          type="text"
          autocomplete="off"
          spellcheck={false}
          placeholder={ADDRESSES}
          required
        />
        <button type="submit" disabled={isBusy}>
          Add
        </button>
      </div>
      <DropZone
        label="or drop its folder or files, GGUF too"
        disabled={isBusy}
        onFiles={(files) => void take(files)}
      />
    </form>
  );
}
