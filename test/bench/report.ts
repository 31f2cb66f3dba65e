// A run as Markdown: the figures with their targets first, then what they were made of.
import { deriveFigures, type Figure } from "./figures.ts";
import { filter, find, type Results, type Row } from "./results.ts";
import { median, ratioOf, spreadOf } from "./statistics.ts";

export function renderReport(results: Results): string {
  const { machine, options, date } = results;
  const about = [
    `${machine.cpu}, ${machine.cores} cores, ${machine.platform}; Node ${machine.node}; ${date.slice(0, 10)}; `,
    `${options.shape}, random weights; medians of ${options.rounds} rounds`,
    options.quick ? " (quick: too short to mean anything)" : "",
  ];
  return [
    about.join(""),
    section("Figures", figureTable(results)),
    section("The same on other hosts and on the baseline build", hostTable(results)),
    section("Tokens per second", speedTable(results)),
    section("Ceilings, and kernels over them", ceilingTable(results), kernelTable(results)),
    section("Single products, G operations per second", productTable(results)),
    section("Loading and size", loadTable(results), downloadTable(results)),
    section("Not measured", failureList(results)),
  ]
    .filter((text) => text !== "")
    .join("\n\n");
}

function section(title: string, ...parts: string[]): string {
  const filled = parts.filter((part) => part !== "");
  return filled.length === 0 ? "" : [`### ${title}`, ...filled].join("\n\n");
}

function figureTable(results: Results): string {
  const rows = deriveFigures(results).map((figure) => [
    figure.name,
    formatTarget(figure),
    formatMeasured(figure),
    figure.measured === undefined
      ? ""
      : `${digits(figure.measured.min)} - ${digits(figure.measured.max)}`,
  ]);
  return table(["figure", "target", "measured", "spread"], rows);
}

function hostTable(results: Results): string {
  const hosts = ["tureen", "tureen, baseline build", "tureen, Deno", "tureen, Chromium"].filter(
    (contender) => filter(results, { contender }).length > 0,
  );
  if (hosts.length < 2) return "";
  const columns = hosts.map((host) => deriveFigures(results, host));
  const rows = columns[0]!.map((figure, i) => [
    figure.name,
    formatTarget(figure),
    ...columns.map((figures) => formatMeasured(figures[i]!)),
  ]);
  return table(["figure", "target", ...hosts.map((host) => host.replace("tureen, ", ""))], rows);
}

function speedTable(results: Results): string {
  const metrics = ["prefill 128", "prefill 512", "decode"];
  const cases = unique(filter(results, { section: "generation" }), (row) =>
    [row.type, row.threads, row.adapters, row.contender].join(),
  );
  const rows = cases.map(({ type, threads, adapters, contender }) => {
    const wanted = { section: "generation", type, threads, adapters, contender } as Partial<Row>;
    const cells = metrics.map((metric) => formatValues(find(results, { ...wanted, metric })));
    return [String(type), String(threads), String(adapters), contender, ...cells];
  });
  return table(["weights", "threads", "adapters", "engine", ...metrics], rows);
}

function ceilingTable(results: Results): string {
  const rows = filter(results, { section: "kernels", contender: "ceilings" });
  const names: Record<string, string> = {
    read: "reading memory, GB/s",
    f32: "f32 products and sums, GFLOP/s",
    i16: "int16 dot to int32, GOP/s",
    i8: "int8 dot to int16, GOP/s",
    "i8 widening": "int8 dot to int32, GOP/s",
  };
  const cells = rows.map(({ metric, threads, values }) => [
    names[metric] ?? metric,
    String(threads),
    formatValues(values),
  ]);
  return table(["ceiling", "threads", "measured"], cells);
}

/** G/s over the ceiling of the type's instruction, GB/s over the bandwidth. */
function kernelTable(results: Results): string {
  const ceilingOf: Record<string, string> = { f32: "f32", q8: "i8 widening", q4: "i8" };
  const rows = filter(results, { section: "kernels", metric: "G/s" }).map((row) => {
    const { type, threads, tokens, kernel, contender } = row;
    const key = { section: "kernels", type, threads, tokens, kernel, contender } as Partial<Row>;
    const bytes = find(results, { ...key, metric: "GB/s" });
    const share = (values: readonly number[] | undefined, metric: string): string => {
      const ceiling = find(results, {
        section: "kernels",
        contender: "ceilings",
        threads,
        metric,
      } as Partial<Row>);
      return values && ceiling ? digits(ratioOf(values, ceiling).median) : "";
    };
    const few = (tokens ?? 0) < 8;
    return [
      contender,
      `${type} ${kernel}`,
      String(tokens),
      String(threads),
      formatValues(row.values),
      share(row.values, ceilingOf[type ?? ""] ?? "f32"),
      few ? formatValues(bytes) : "",
      few ? share(bytes, "read") : "",
    ];
  });
  const head = ["engine", "kernel", "tokens", "threads", "G/s", "over ceiling", "GB/s"];
  return table([...head, "over bandwidth"], rows);
}

function productTable(results: Results): string {
  const rows = filter(results, { section: "products", contender: "tureen" }).map((row) => {
    const { type, threads, tokens, kernel, metric } = row;
    const key = { section: "products", type, threads, tokens, kernel, metric } as Partial<Row>;
    const peers = ["onnxruntime-node", "onnxruntime-web"].map((contender) => {
      const values = find(results, { ...key, contender });
      if (values === undefined) return "";
      return `${formatValues(values)}; ${digits(ratioOf(row.values, values).median)} ×`;
    });
    return [
      `${type} ${kernel}`,
      String(tokens),
      String(threads),
      formatValues(row.values),
      ...peers,
    ];
  });
  const head = ["product", "tokens", "threads", "tureen"];
  return table(
    [...head, "onnxruntime-node; tureen over it", "onnxruntime-web; tureen over it"],
    rows,
  );
}

function loadTable(results: Results): string {
  const rows = filter(results, { section: "load", metric: "load ms" }).map((row) => {
    const { contender, type } = row;
    const key = { section: "load", contender, type } as Partial<Row>;
    const megabytes = (metric: string): string => {
      const values = find(results, { ...key, metric });
      return values === undefined ? "" : formatValues(values.map((bytes) => bytes / 1e6));
    };
    return [
      contender,
      String(type),
      formatValues(row.values),
      megabytes("weight bytes"),
      megabytes("peak bytes"),
    ];
  });
  return table(["engine", "weights", "load, ms", "weights, MB", "most resident, MB"], rows);
}

function downloadTable(results: Results): string {
  const rows = filter(results, { section: "download", metric: "gzip" }).map(
    ({ contender, values }) => {
      const brotli = find(results, { section: "download", contender, metric: "brotli" });
      return [contender, kilobytes(values), kilobytes(brotli ?? [])];
    },
  );
  return table(["download", "gzip, kB", "brotli, kB"], rows);
}

function failureList(results: Results): string {
  return results.failures
    .map(({ contender, where, reason }) => `- ${contender} (${where}): ${reason}`)
    .join("\n");
}

function formatTarget({ target, better, unit }: Figure): string {
  return `${better === "more" ? "≥" : "≤"} ${target} ${unit}`;
}

/** Bold where the target is missed. */
function formatMeasured({ target, better, unit, measured }: Figure): string {
  if (measured === undefined) return "-";
  const met = better === "more" ? measured.median >= target : measured.median <= target;
  const text = `${digits(measured.median)} ${unit}`;
  return met ? text : `**${text}**`;
}

function formatValues(values: readonly number[] | undefined): string {
  if (values === undefined) return "";
  if (values.length < 2) return digits(median(values));
  const { median: middle, min, max } = spreadOf(values);
  return `${digits(middle)} (${digits(min)} - ${digits(max)})`;
}

/** Three digits that count. */
function digits(value: number): string {
  if (value === 0 || Math.abs(value) >= 100) return value.toFixed(0);
  return value.toPrecision(Math.abs(value) < 0.1 ? 2 : 3);
}

function kilobytes(values: readonly number[]): string {
  return values.length === 0 ? "" : (values[0]! / 1000).toFixed(0);
}

function unique(rows: readonly Row[], key: (row: Row) => string): Row[] {
  const byKey = new Map<string, Row>();
  for (const row of rows) if (!byKey.has(key(row))) byKey.set(key(row), row);
  return [...byKey.values()];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return "";
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
