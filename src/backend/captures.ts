// Capture and replay: an optional part of the contract. A decoder makes the same calls for every token of a text; a backend
// that can keep what it recorded, and record it again for another token at once, spares them. The rules of backend.ts hold.

/** What was recorded between `start` and `finish`. Worthless where the backend has since freed what it needs: see `replay`. */
export interface Capture {
  readonly kind: "capture";
}

export interface Captures {
  /**
   * Begins to keep what is recorded: operations on one row, from its embedding on, all at one position of one cache.
   * Nothing that was recorded may be waiting.
   */
  start(): void;
  /**
   * Ends it; what was recorded still waits for the next `read`.
   * @returns undefined where it cannot be repeated, because something ran in between
   */
  finish(): Capture | undefined;
  /**
   * Records the same operations for another token, with the same handles. The entries of its banks are read anew.
   * @returns whether it did. If not, nothing was recorded: a handle was freed, memory moved, an m became 0 or ceased to be, or
   * the number of keys calls for another division of the work.
   */
  replay(capture: Capture, id: number, position: number): boolean;
}
