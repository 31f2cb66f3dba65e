// Speed and memory of the kitchen's model on this machine.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { formatBytes, formatRate } from "../engine/format.ts";
import type { Kitchen } from "../engine/kitchen.ts";
import {
  type Memory,
  measureSpeed,
  readMemory,
  readPageMemory,
  type Speed,
} from "../engine/machine.ts";
import { Problem } from "./problem.tsx";

export function Measures({ kitchen: { model } }: { readonly kitchen: Kitchen }) {
  const memory = useSignal<Memory | undefined>(undefined);
  const page = useSignal<number | undefined>(undefined);
  const speed = useSignal<Speed | undefined>(undefined);
  const isMeasuring = useSignal(false);
  const problem = useSignal<unknown>(undefined);
  useEffect(() => {
    void readMemory(model).then((read) => {
      memory.value = read;
    });
    void readPageMemory().then((bytes) => {
      page.value = bytes;
    });
  }, [model]);
  const measure = async () => {
    isMeasuring.value = true;
    problem.value = undefined;
    try {
      speed.value = await measureSpeed(model);
    } catch (error) {
      problem.value = error;
    }
    isMeasuring.value = false;
  };
  const bytes = (value: number | undefined) => (value === undefined ? "…" : formatBytes(value));
  const { value: fast } = speed;
  return (
    <>
      <h3>Speed and memory</h3>
      <dl class="facts">
        <div>
          <dt>Reading the prompt</dt>
          <dd>{fast === undefined ? "–" : `${formatRate(fast.prefill)} tokens/s`}</dd>
        </div>
        <div>
          <dt>Writing</dt>
          <dd>{fast === undefined ? "–" : `${formatRate(fast.decode)} tokens/s`}</dd>
        </div>
        <div>
          <dt>Weights, packed</dt>
          <dd>{bytes(memory.value?.weights)}</dd>
        </div>
        <div>
          <dt>All adapters</dt>
          <dd>{bytes(memory.value?.adapters)}</dd>
        </div>
        <div>
          <dt>Cache of a conversation</dt>
          <dd>{bytes(memory.value?.cache)}</dd>
        </div>
        {globalThis.crossOriginIsolated && (
          <div>
            <dt>This page, with workers</dt>
            <dd>{bytes(page.value)}</dd>
          </div>
        )}
      </dl>
      <div class="buttons">
        <button type="button" disabled={isMeasuring.value} onClick={() => void measure()}>
          {isMeasuring.value ? "Measuring…" : "Measure the speed"}
        </button>
        <span class="note">the kitchen's 1.3M parameters, both adapters in use</span>
      </div>
      <Problem error={problem.value} />
    </>
  );
}
