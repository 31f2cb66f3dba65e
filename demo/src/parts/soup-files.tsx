// Saving and opening a soup: as soup.json, or as one PEFT adapter for every engine that reads PEFT.
import { useSignal } from "@preact/signals";
import type { RemoteSoup } from "tureen/worker";
import type { Blend } from "../engine/blend.ts";
import { downloadPeft, downloadRecipe } from "../engine/download.ts";
import { Problem } from "./problem.tsx";

interface Props {
  readonly blend: Blend;
  /** What is saved, if it is not the blend's own soup. */
  readonly soup?: RemoteSoup | undefined;
  readonly onOpened: () => void;
}

export function SoupFiles({ blend, soup = blend.soup, onOpened }: Props) {
  const problem = useSignal<unknown>(undefined);
  const attempt = async (task: () => Promise<void>) => {
    problem.value = undefined;
    await task().catch((error: unknown) => {
      problem.value = error;
    });
  };
  const open = (file: File) =>
    attempt(async () => {
      const opened = await blend.model.loadSoup(await file.text());
      await blend.apply(await opened.weights);
      onOpened();
    });
  return (
    <div class="soup-files">
      <div class="buttons">
        <button type="button" onClick={() => attempt(() => downloadRecipe(soup))}>
          Save soup.json
        </button>
        <label class="button">
          Open soup.json
          <input
            type="file"
            accept=".json,application/json"
            class="visually-hidden"
            onChange={(event) => {
              const [file] = event.currentTarget.files ?? [];
              event.currentTarget.value = "";
              if (file !== undefined) void open(file);
            }}
          />
        </label>
        <button type="button" onClick={() => attempt(() => downloadPeft(soup))}>
          Download as PEFT adapter
        </button>
      </div>
      <Problem error={problem.value} />
    </div>
  );
}
