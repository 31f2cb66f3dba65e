// The promise of the library: the same soup gives the same bits in every host, on every build, with any number of threads.
// `npm run parity` prints the table.
import Table from "cli-table3";
import { afterAll, describe, expect, test } from "vitest";
import { HOSTS, type ParityResult } from "./hosts.ts";

const WEIGHT_TYPES = ["f32", "q8", "q4"] as const;
const results = new Map<string, ParityResult>();

describe("the same bits in every host", () => {
  for (const host of HOSTS) {
    const { name, missing } = host;
    const mustRun = host.required && process.env.CI !== undefined;
    test.skipIf(missing !== undefined && !mustRun)(
      missing === undefined ? name : `${name}: ${missing}`,
      { timeout: 180_000 },
      async () => {
        expect(missing, "CI must run this host").toBeUndefined();
        const result = await host.run();
        results.set(name, result);
        const { rows } = result;
        const ran = rows.filter(({ unavailable }) => unavailable === undefined);
        // What the host chooses by itself runs, and uses threads exactly where there are any.
        expect(rows[0]!.unavailable).toBeUndefined();
        expect(rows[0]!.build.endsWith("-threads")).toBe(host.threads === "many");
        const most = Math.max(...ran.map(({ threads }) => threads));
        if (host.threads === "many") expect(most).toBeGreaterThan(1);
        else expect(most).toBe(1);
        expect(ran.some(({ build }) => build.startsWith("baseline"))).toBe(true);
        expect(ran.some(({ build }) => build.startsWith("relaxed"))).toBe(true);
        const reference = [...results.values()][0]!.rows[0]!;
        for (const row of ran) {
          const where = `${name}, ${row.build}, ${row.threads}`;
          for (const type of WEIGHT_TYPES) {
            expect(row[type], `${where}, ${type}`).toEqual(reference[type]);
            expect(row[type]!.logits).toMatch(/^[0-9a-f]{64}$/);
          }
        }
      },
    );
  }
  test("the weight types differ, so the hashes tell something", () => {
    const row = [...results.values()][0]!.rows[0]!;
    expect(new Set(WEIGHT_TYPES.map((type) => row[type]!.logits)).size).toBe(3);
  });
});

afterAll(() => {
  const table = new Table({
    head: ["host", "build", "threads", ...WEIGHT_TYPES.map((type) => `logits ${type}`), "tokens"],
    style: { head: [], border: [] },
  });
  const times = new Table({
    head: ["host", "start to first token, ms", "memory of the process, MB"],
    style: { head: [], border: [] },
  });
  for (const { name, missing } of HOSTS) {
    const result = results.get(name);
    if (result === undefined) {
      table.push([name, { colSpan: 6, content: missing ?? "failed, or not asked for" }]);
      continue;
    }
    const { rows, firstTokenMs, memory } = result;
    const refused = rows.filter(({ unavailable }) => unavailable !== undefined);
    for (const row of rows) {
      const chosen = Object.keys(row.asked).length === 0 ? " (its choice)" : "";
      if (row.unavailable !== undefined) continue;
      const hashes = WEIGHT_TYPES.map((type) => row[type]!.logits.slice(0, 12));
      const tokens = row.f32!.tokens.slice(0, 12);
      table.push([name, `${row.build}${chosen}`, row.threads, ...hashes, tokens]);
    }
    const megabytes = memory === undefined ? "" : Math.round(memory / 1e6);
    times.push([name, firstTokenMs ?? "", megabytes]);
    if (refused.length > 0) {
      const list = refused.map(({ build, threads }) => `${build} ${threads}`).join(", ");
      table.push([name, { colSpan: 6, content: `cannot run: ${list}` }]);
    }
  }
  console.log(`${table}\n${times}`);
});
