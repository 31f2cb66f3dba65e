import { PRESETS } from "../engine/methods.ts";

interface Props {
  readonly chosen: string;
  readonly onChoose: (id: string) => void;
}

/** One of the merge methods. */
export function Presets({ chosen, onChoose }: Props) {
  return (
    <fieldset class="presets">
      <legend>Method</legend>
      {PRESETS.map(({ id, label }) => (
        <label key={id} class="chip">
          <input
            type="radio"
            name="method"
            value={id}
            checked={chosen === id}
            onChange={() => onChoose(id)}
          />
          <span>{label}</span>
        </label>
      ))}
    </fieldset>
  );
}
