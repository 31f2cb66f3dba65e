import { useSignal } from "@preact/signals";

/** The address holds question, method and weights. */
export function CopyLink() {
  const said = useSignal("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      said.value = "Copied";
    } catch {
      said.value = "The address bar has it";
    }
    setTimeout(() => {
      said.value = "";
    }, 2500);
  };
  return (
    <div class="buttons">
      <button type="button" onClick={() => void copy()}>
        Copy link to this soup
      </button>
      <span class="note" role="status">
        {said.value}
      </span>
    </div>
  );
}
