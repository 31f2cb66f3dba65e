// Writing for people and programs: results to stdout, everything else to stderr.

import Table from "cli-table3";

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value));
}

/** A remark for people. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** 1234567 → "1.2 MB" */
export function formatBytes(nBytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = nBytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

/** Rounds for JSON and people: three significant decimals are more than any clock is worth. */
export function round(value: number): number {
  return Number(value.toPrecision(4));
}

/** A table without lines between rows. Numbers to the right. */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const isNumeric = (j: number): boolean =>
    rows.every((row) => /^[\d.,-]* ?%?$/.test(String(row[j])));
  const table = new Table({
    head: [...head],
    colAligns: head.map((_, j) => (isNumeric(j) ? "right" : "left")),
    style: { head: [], border: [] },
    chars: { mid: "", "left-mid": "", "mid-mid": "", "right-mid": "" },
  });
  for (const row of rows) table.push([...row]);
  return table.toString();
}
