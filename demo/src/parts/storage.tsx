import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { TureenWorker } from "tureen/worker";
import { formatBytes } from "../engine/format.ts";
import { clearKept, type Kept, readKept } from "../engine/storage.ts";
import { Problem } from "./problem.tsx";
import { useSeen } from "./use-seen.ts";

/** What the browser keeps for this site, and a button to be rid of it. */
export function Storage({ worker }: { readonly worker: TureenWorker }) {
  const list = useRef<HTMLDListElement>(null);
  const kept = useSignal<Kept | undefined>(undefined);
  const said = useSignal("");
  const problem = useSignal<unknown>(undefined);
  const read = async () => {
    kept.value = await readKept(worker);
  };
  useSeen(list, () => void read());
  const clear = async () => {
    problem.value = undefined;
    try {
      await clearKept(worker);
      said.value = "Cleared. The next visit fetches everything anew.";
    } catch (error) {
      problem.value = error;
    }
    await read();
  };
  const { total, models = [] } = kept.value ?? {};
  return (
    <>
      <h3>Kept in this browser</h3>
      <dl class="facts" ref={list}>
        <div>
          <dt>In all</dt>
          <dd>{total === undefined ? "–" : formatBytes(total)}</dd>
        </div>
        {models.map(({ repo, nBytes }) => (
          <div key={repo}>
            <dt>{repo}</dt>
            <dd>{formatBytes(nBytes)}</dd>
          </div>
        ))}
      </dl>
      <div class="buttons">
        <button type="button" onClick={() => void clear()}>
          Clear
        </button>
        <button type="button" onClick={() => void read()}>
          Look again
        </button>
        <span class="note" role="status">
          {said.value}
        </span>
      </div>
      <Problem error={problem.value} />
    </>
  );
}
