// Finds stop strings in text that arrives in pieces, and holds back whatever could still become one.

/** What `push` lets through. */
export interface ScannedText {
  /** Text that is certainly before any stop string. */
  readonly text: string;
  /** The stop string that completed, if one did; all later text is to be ignored. */
  readonly stopped?: string;
}

/**
 * Scans for stop strings as if the text arrived one UTF-16 unit at a time, so the result does not depend on the pieces: the
 * stop string that completes first wins, the longest of those that complete together. The text ends where it begins.
 */
export class StopScanner {
  readonly #stops: readonly string[];
  /** Received and not yet let through: a proper prefix of some stop string. */
  #held = "";

  /** @param stops non-empty strings; may overlap and contain each other */
  constructor(stops: readonly string[]) {
    // Longest first, so that the first match at an end is the longest.
    this.#stops = [...stops].sort((a, b) => b.length - a.length);
  }

  push(piece: string): ScannedText {
    const text = this.#held + piece;
    for (let end = this.#held.length + 1; end <= text.length; end++) {
      const stopped = this.#stops.find((stop) => text.endsWith(stop, end));
      if (stopped !== undefined) {
        this.#held = "";
        return { text: text.slice(0, end - stopped.length), stopped };
      }
    }
    const held = this.#countHeld(text);
    this.#held = text.slice(text.length - held);
    return { text: text.slice(0, text.length - held) };
  }

  /** The text held back, once no more comes. */
  flush(): string {
    const text = this.#held;
    this.#held = "";
    return text;
  }

  /** Length of the longest end of the text that begins some stop string. */
  #countHeld(text: string): number {
    let held = 0;
    for (const stop of this.#stops) {
      for (let n = Math.min(stop.length - 1, text.length); n > held; n--) {
        if (text.endsWith(stop.slice(0, n))) held = n;
      }
    }
    return held;
  }
}
