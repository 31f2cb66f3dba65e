// The numbers that a KV cache is computed under: a private copy of a soup, in the form that the decoder takes. A soup may be
// re-weighted at any moment; a copy is what makes one pass through the network see one set of weights, and what tells
// whether cached keys and values still hold.
import type { SoupEntry } from "../backend/backend.ts";
import type { Banks } from "../model/decoder.ts";
import type { LoadedAdapter } from "./loaded-adapters.ts";
import { checkLoaded, type Soup, type SoupPart } from "./soup.ts";

export class BankState {
  #banks = new Map<string, SoupEntry[]>();
  /** Adapters of non-zero weight, in load order, and their entries in module order. */
  #active: { readonly loaded: LoadedAdapter; readonly entries: readonly SoupEntry[] }[] = [];

  /** Linear layer → entries, in load order. */
  get banks(): Banks {
    return this.#banks;
  }

  /**
   * Takes over the soup's numbers; `undefined` is the base alone. Allocates only when other adapters take part than before.
   * @returns whether anything changed, so that what was computed before is void
   * @throws TureenError `ADAPTER_NOT_FOUND` if the soup gives weight to an unloaded adapter; nothing has changed then
   */
  update(soup: Soup | undefined): boolean {
    const parts = soup?.parts ?? [];
    let active = 0;
    let changed = false;
    for (const part of parts) {
      if (!isActive(part)) continue;
      checkLoaded(part.loaded);
      if (this.#active[active]?.loaded !== part.loaded) changed = true;
      active++;
    }
    if (changed || active !== this.#active.length) {
      this.#rebuild(parts.filter(isActive));
      return true;
    }
    active = 0;
    for (const part of parts) {
      if (!isActive(part)) continue;
      if (copyWeights(part, this.#active[active++]!.entries)) changed = true;
    }
    return changed;
  }

  #rebuild(parts: readonly SoupPart[]): void {
    this.#banks = new Map();
    this.#active = parts.map((part) => {
      const { loaded } = part;
      const entries = loaded.modules.map(({ segment }): SoupEntry => ({ segment, m: 0 }));
      copyWeights(part, entries);
      loaded.modules.forEach(({ linear }, j) => {
        const bank = this.#banks.get(linear.path);
        if (bank === undefined) this.#banks.set(linear.path, [entries[j]!]);
        else bank.push(entries[j]!);
      });
      return { loaded, entries };
    });
  }
}

/** m = soup weight × scaling, rounded to f32 once, here. */
function copyWeights({ loaded, weights }: SoupPart, entries: readonly SoupEntry[]): boolean {
  let changed = false;
  for (let j = 0; j < entries.length; j++) {
    const m = Math.fround(weights[j]! * loaded.modules[j]!.scaling);
    const entry = entries[j]!;
    if (entry.m === m) continue;
    entry.m = m;
    changed = true;
  }
  return changed;
}

function isActive({ weights }: SoupPart): boolean {
  for (let j = 0; j < weights.length; j++) if (weights[j] !== 0) return true;
  return false;
}
