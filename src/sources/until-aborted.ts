// Waiting for something that others wait for, too: whoever gives up leaves alone.
import { throwIfAborted } from "../errors.ts";

/** @throws TureenError `ABORTED` as soon as the signal says so; what was waited for goes on */
export async function untilAborted<T>(
  value: Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  throwIfAborted(signal);
  if (signal === undefined) return value;
  let leave = (): void => {};
  const aborted = new Promise<void>((resolve) => {
    leave = resolve;
  });
  signal.addEventListener("abort", leave, { once: true });
  try {
    const first = await Promise.race([value, aborted]);
    throwIfAborted(signal);
    return first as T;
  } finally {
    signal.removeEventListener("abort", leave);
  }
}
