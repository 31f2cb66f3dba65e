// Numbers as people read them. A unit stays with its number.

export function formatBytes(nBytes: number): string {
  if (nBytes < 1000) return `${nBytes}\u00a0B`;
  const units = ["kB", "MB", "GB"];
  let value = nBytes / 1000;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)}\u00a0${units[unit]}`;
}

export function formatMs(ms: number): string {
  if (ms >= 10_000) return `${Math.round(ms / 1000)}\u00a0s`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)}\u00a0s`;
  return ms < 10 ? `${ms.toFixed(1)}\u00a0ms` : `${Math.round(ms)}\u00a0ms`;
}

export function formatMicroseconds(us: number): string {
  return us < 10 ? `${us.toFixed(1)}\u00a0µs` : `${Math.round(us)}\u00a0µs`;
}

export function formatWeight(weight: number): string {
  return weight.toFixed(2).replace("-", "−");
}

export function formatRate(perSecond: number): string {
  return Math.round(perSecond).toLocaleString("en");
}

export function percent(part: number, whole: number): string {
  return `${((100 * part) / Math.max(1, whole)).toFixed(0)}\u00a0%`;
}
