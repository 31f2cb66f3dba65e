// Numbers as people read them.

export function formatBytes(nBytes: number): string {
  if (nBytes < 1000) return `${nBytes} B`;
  const units = ["kB", "MB", "GB"];
  let value = nBytes / 1000;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function formatMs(ms: number): string {
  if (ms >= 10_000) return `${Math.round(ms / 1000)} s`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

export function formatMicroseconds(us: number): string {
  return us < 10 ? `${us.toFixed(1)} µs` : `${Math.round(us)} µs`;
}

export function formatWeight(weight: number): string {
  return weight.toFixed(2).replace("-", "−");
}

export function formatRate(perSecond: number): string {
  return Math.round(perSecond).toLocaleString("en");
}

export function percent(part: number, whole: number): string {
  return `${((100 * part) / Math.max(1, whole)).toFixed(0)} %`;
}
