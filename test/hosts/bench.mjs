// Time from the start of a process, page or worker to the first token of the kitchen model with two adapters, and memory then, in
// every host: import, load, two adapters, prompt. Rounds are interleaved; medians and extremes are printed.
//
//   npm run bench:hosts [ROUNDS] [NAME]     default 5; NAME: only hosts whose name contains it
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import Table from "cli-table3";
import { runnerImport } from "vite";

const [rounds = "5", filter = ""] = process.argv.slice(2);
const { module } = await runnerImport(fileURLToPath(new URL("hosts.ts", import.meta.url)));
const hosts = module.HOSTS.filter(({ name }) => name.includes(filter));
const found = new Map(hosts.map(({ name }) => [name, []]));

for (let round = 0; round < Number(rounds); round++) {
  for (const { name, missing, run } of hosts) {
    if (missing === undefined) found.get(name).push(await run("first-token"));
  }
}

const head = ["host", "build", "threads", "first token, ms", "(range)", "memory, MB"];
const table = new Table({ head, style: { head: [], border: [] } });
for (const { name, missing } of hosts) {
  if (missing !== undefined) {
    table.push([name, { colSpan: 5, content: missing }]);
    continue;
  }
  const results = found.get(name);
  const times = results.map(({ firstTokenMs }) => firstTokenMs);
  const { build, threads } = results[0].first;
  const range = `${Math.min(...times)}-${Math.max(...times)}`;
  const memory = median(results.map(({ memory }) => memory ?? Number.NaN)) / 1e6;
  table.push([name, build, threads, median(times), range, memory.toFixed(0)]);
}
const [{ model }] = cpus();
console.log(`${table}\n${rounds} rounds, ${cpus().length} cores of ${model}`);

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
