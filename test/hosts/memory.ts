// What processes hold in memory, as Linux tells it; elsewhere nothing is known.
import { readdirSync, readFileSync } from "node:fs";

/** Resident memory of a process, in bytes. */
export function residentMemory(pid: number): number | undefined {
  try {
    const kb = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return kb === undefined ? undefined : Number(kb) * 1024;
  } catch {
    return undefined;
  }
}

/** Processes below another one whose command line matches. */
export function findDescendants(pid: number, command: RegExp): number[] {
  const parents = new Map<number, number>();
  try {
    for (const name of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
      const stat = tryRead(`/proc/${name}/stat`);
      const parent = /\) \S (\d+)/.exec(stat)?.[1];
      if (parent !== undefined) parents.set(Number(name), Number(parent));
    }
  } catch {
    return []; // no /proc
  }
  const isBelow = (child: number | undefined): boolean =>
    child !== undefined && (parents.get(child) === pid || isBelow(parents.get(child)));
  return [...parents.keys()].filter(
    (child) => isBelow(child) && command.test(tryRead(`/proc/${child}/cmdline`)),
  );
}

/** The largest of some processes, in bytes. */
export function largest(pids: readonly number[]): number | undefined {
  const sizes = pids.map(residentMemory).filter((size) => size !== undefined);
  return sizes.length === 0 ? undefined : Math.max(...sizes);
}

function tryRead(path: string): string {
  try {
    return readFileSync(path, "utf8").replaceAll("\0", " ");
  } catch {
    return ""; // it has ended
  }
}
