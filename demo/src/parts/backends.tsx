// Every backend and build, tried: which one this page uses, and why the others cannot run, in the library's words.
import { signal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { Kitchen } from "../engine/kitchen.ts";
import { CANDIDATES, type Trial, tryAll } from "../engine/machine.ts";
import { useSeen } from "./use-seen.ts";

/** By candidate; filled as they are tried, once the table comes into view. */
export const trials = signal<Readonly<Record<string, Trial>>>({});
const inUse = signal<string | undefined>(undefined);

export function Backends({ kitchen }: { readonly kitchen: Kitchen }) {
  const table = useRef<HTMLTableElement>(null);
  useSeen(table, () => void begin(kitchen));
  return (
    <>
      <h3>Backends</h3>
      <table ref={table} class="backends">
        <thead class="visually-hidden">
          <tr>
            <th scope="col">Backend and build</th>
            <th scope="col">Here</th>
          </tr>
        </thead>
        <tbody>
          {CANDIDATES.map(({ id }) => (
            <tr key={id} data-used={inUse.value === id ? "" : undefined}>
              <th scope="row">{id}</th>
              <td>{describeTrial(trials.value[id], inUse.value === id)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

async function begin(kitchen: Kitchen): Promise<void> {
  if (inUse.value !== undefined) return; // begun
  inUse.value = "";
  const { name, build } = (await kitchen.model.info).backend;
  inUse.value = name === "wasm" ? `wasm ${build}` : name;
  await tryAll(kitchen, (id, trial) => {
    trials.value = { ...trials.value, [id]: trial };
  });
}

function describeTrial(trial: Trial | undefined, isUsed: boolean) {
  if (trial === undefined) return <span class="note">…</span>;
  if (!trial.runs) {
    const { problem } = trial;
    const text = problem instanceof Error ? problem.message : String(problem);
    return <span class="note">{text}</span>;
  }
  const { threads } = trial.backend;
  const many = `${threads} ${threads === 1 ? "thread" : "threads"}`;
  return isUsed ? <b>in use, {many}</b> : `runs, ${many}`;
}
