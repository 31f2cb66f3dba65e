// Takes files and folders by drop, or by the two pickers that browsers have.
import { useSignal } from "@preact/signals";
import { type FileAt, listDropped, listPicked } from "../engine/dropped.ts";

/** Not in the standard, but in every browser. */
const PICKS_FOLDERS = { webkitdirectory: true };

interface Props {
  readonly label: string;
  readonly disabled: boolean;
  readonly onFiles: (files: readonly FileAt[]) => void;
}

export function DropZone({ label, disabled, onFiles }: Props) {
  const isOver = useSignal(false);
  const pick = (event: { readonly currentTarget: HTMLInputElement }) => {
    const input = event.currentTarget;
    const files = listPicked(input.files ?? []);
    input.value = "";
    if (files.length > 0) onFiles(files);
  };
  return (
    <fieldset
      class="drop"
      aria-label={label}
      disabled={disabled}
      data-over={isOver.value ? "" : undefined}
      onDragOver={(event) => {
        event.preventDefault();
        isOver.value = true;
      }}
      onDragLeave={() => {
        isOver.value = false;
      }}
      onDrop={(event) => {
        event.preventDefault();
        isOver.value = false;
        if (!disabled && event.dataTransfer !== null)
          void listDropped(event.dataTransfer).then(onFiles);
      }}
    >
      <span class="note">{label}</span>
      <label class="button small">
        Files
        <input type="file" multiple class="visually-hidden" onChange={pick} />
      </label>
      <label class="button small">
        Folder
        <input type="file" class="visually-hidden" onChange={pick} {...PICKS_FOLDERS} />
      </label>
    </fieldset>
  );
}
