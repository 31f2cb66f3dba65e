// How threads meet, in shared memory, without messages: spin for a while, then sleep on the word.
//
// Control block, 64-byte steps so that words that different threads write do not share a cache line:
//   0    epoch: raised once per command list       64   sleepers on it
//   128  arrived: threads at the barrier           192  generation: raised when all have arrived; 256 sleepers on it
//   320  address of the list; 324 number of commands; 328 stop flag; 332 set by a thread that failed

const SPINS: i32 = 20000;

/**
 * Sleeps until the word at `at` may differ from `old`: the host's `Atomics.wait`. Not wasm's own `memory.atomic.wait32`, because
 * the baseline compiler of V8 11.3 (Node 20) loses values held across it.
 */
declare function sleep(at: usize, old: i32): void;

/** Waits until the word at `at` differs from `old`. `sleepers` counts those that sleep. */
function wait_change(at: usize, old: i32, sleepers: usize): void {
  for (let spin = 0; spin < SPINS; spin++) {
    if (atomic.load<i32>(at) !== old) return;
  }
  atomic.add<i32>(sleepers, 1);
  while (atomic.load<i32>(at) === old) sleep(at, old);
  atomic.sub<i32>(sleepers, 1);
}

/** Raises the word at `at` and wakes who sleeps on it. */
function raise(at: usize, sleepers: usize): void {
  atomic.add<i32>(at, 1);
  if (atomic.load<i32>(sleepers) !== 0) atomic.notify(at, -1);
}

/** Returns when all threads have called it. */
export function barrier(control: usize, threads: i32): void {
  const generation = atomic.load<i32>(control + 192);
  if (atomic.add<i32>(control + 128, 1) === threads - 1) {
    atomic.store<i32>(control + 128, 0);
    raise(control + 192, control + 256);
  } else {
    wait_change(control + 192, generation, control + 256);
  }
}

/** Main thread: hands a list to the others. */
export function publish(control: usize, list: usize, count: i32): void {
  atomic.store<i32>(control + 320, i32(list));
  atomic.store<i32>(control + 324, count);
  raise(control, control + 64);
}

/** Other threads: the next epoch after `seen`, or -1 when told to stop. */
export function await_epoch(control: usize, seen: i32): i32 {
  wait_change(control, seen, control + 64);
  return atomic.load<i32>(control + 328) !== 0 ? -1 : seen + 1;
}

/** Main thread: tells the others to return from `work`. */
export function stop(control: usize): void {
  atomic.store<i32>(control + 328, 1);
  raise(control, control + 64);
}
