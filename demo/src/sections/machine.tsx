// What runs here: backend, build and threads, why not the others, how fast, how much memory, what is kept, and the proof that
// it computes the same bits as Node.
import { type Kitchen, kitchen } from "../engine/kitchen.ts";
import { Backends } from "../parts/backends.tsx";
import { Isolation } from "../parts/isolation.tsx";
import { Measures } from "../parts/measures.tsx";
import { SameBits } from "../parts/same-bits.tsx";
import { Section } from "../parts/section.tsx";
import { Storage } from "../parts/storage.tsx";

export function MachineSection() {
  return (
    <Section
      id="machine"
      title="Look under the lid"
      lead="One package on every host. On WebAssembly, the same model, soup and prompt give the same bits, here and in Node."
    >
      {kitchen.value === undefined ? (
        <p class="placeholder note">Opens with the kitchen.</p>
      ) : (
        <Machine kitchen={kitchen.value} />
      )}
    </Section>
  );
}

function Machine({ kitchen }: { readonly kitchen: Kitchen }) {
  return (
    <div class="bench">
      <div class="panel">
        <Backends kitchen={kitchen} />
        <Isolation />
        <Storage worker={kitchen.worker} />
      </div>
      <div class="panel">
        <Measures kitchen={kitchen} />
      </div>
      <div class="panel wide">
        <SameBits kitchen={kitchen} />
      </div>
    </div>
  );
}
