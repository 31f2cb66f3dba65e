// One adapter's weight in all its linear layers.
import { useId } from "preact/hooks";
import { formatWeight } from "../engine/format.ts";

interface Props {
  readonly label: string;
  readonly tone: string;
  readonly value: number;
  /** Whether layers have weights of their own; the value is then their mean. */
  readonly isMixed?: boolean;
  readonly disabled?: boolean;
  readonly onInput: (value: number) => void;
}

const MAX = 2;

export function Slider({ label, tone, value, isMixed = false, disabled = false, onInput }: Props) {
  const id = useId();
  return (
    <div class="slider" data-tone={tone}>
      <label for={id}>{label}</label>
      <input
        id={id}
        type="range"
        min={0}
        max={MAX}
        step={0.01}
        value={value}
        disabled={disabled}
        aria-valuetext={isMixed ? `mean of ${formatWeight(value)}` : formatWeight(value)}
        style={{ "--fill": `${(100 * Math.min(MAX, Math.max(0, value))) / MAX}%` }}
        onInput={(event) => onInput(Number(event.currentTarget.value))}
      />
      <output for={id}>
        {isMixed && <abbr title="mean over its layers">⌀</abbr>} {formatWeight(value)}
      </output>
    </div>
  );
}
