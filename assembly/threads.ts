// Entry points of the thread pool. In builds without threads they only run the list.
import { await_epoch, publish, stop } from "./barrier";
import { run } from "./run";

/** Main thread: runs a list together with the pool; returns when all is done. */
export function submit(list: usize, count: i32, control: usize, threads: i32): void {
  if (ASC_FEATURE_THREADS) {
    if (threads > 1) publish(control, list, count);
  }
  run(list, count, control, 0, threads);
}

/** Other threads: runs lists as they come, until `stop_workers`. */
export function work(control: usize, tid: i32, threads: i32): void {
  if (ASC_FEATURE_THREADS) {
    for (let epoch = await_epoch(control, 0); epoch >= 0; epoch = await_epoch(control, epoch)) {
      run(load<u32>(control, 320), load<i32>(control, 324), control, tid, threads);
    }
  }
}

/** Main thread: lets the others return from `work`. */
export function stop_workers(control: usize): void {
  if (ASC_FEATURE_THREADS) stop(control);
}
