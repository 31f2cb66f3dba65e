// Names of linear layers, taken apart: in which decoder layer they lie, and what kind they are.

/** The two axes of a heat map: kinds of linear layer, in model order, and decoder layers. */
export function arrange(linears: readonly string[]): { kinds: string[]; layers: number[] } {
  const kinds = new Set(linears.map(kindOf));
  const layers = new Set(linears.map(layerOf));
  return { kinds: [...kinds], layers: [...layers].sort((a, b) => a - b) };
}

/** `model.layers.3.self_attn.q_proj` → `self_attn.q_proj` */
function kindOf(path: string): string {
  return path.replace(/^.*\.layers\.\d+\./, "");
}

export function keyOf(path: string): string {
  return `${layerOf(path)}.${kindOf(path)}`;
}

export function shortKind(kind: string): string {
  return kind
    .split(".")
    .at(-1)!
    .replace(/_proj$/, "");
}

export function nameLayer(layer: number): string {
  return layer < 0 ? "output" : `layer ${layer}`;
}

/** `model.layers.3.self_attn.q_proj` → 3; -1 outside of the layers. */
export function layerOf(path: string): number {
  return Number(/\.layers\.(\d+)\./.exec(path)?.[1] ?? -1);
}
