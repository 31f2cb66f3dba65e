// Every backend and build, tried: which one this page uses, and why the others cannot run, in the library's words.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { TureenError } from "tureen/worker";
import type { Kitchen } from "../engine/kitchen.ts";
import { CANDIDATES, type Trial, tryAll } from "../engine/machine.ts";
import { summarize } from "./problem.tsx";

/** By candidate; filled as they are tried, once the table comes into view. */
export const trials = signal<Readonly<Record<string, Trial>>>({});
const inUse = signal<string | undefined>(undefined);

export function Backends({ kitchen }: { readonly kitchen: Kitchen }) {
  const table = useRef<HTMLTableElement>(null);
  useEffect(() => {
    const observer = new IntersectionObserver(([entry]) => {
      if (!entry?.isIntersecting) return;
      observer.disconnect();
      void begin(kitchen);
    });
    observer.observe(table.current!);
    return () => observer.disconnect();
  }, [kitchen]);
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
    const text =
      problem instanceof TureenError
        ? [summarize(problem), problem.details.hint].filter(Boolean).join(" ")
        : String(problem);
    return <span class="note">{text}</span>;
  }
  const { threads } = trial.backend;
  const many = `${threads} ${threads === 1 ? "thread" : "threads"}`;
  return isUsed ? <b>in use, {many}</b> : `runs, ${many}`;
}
