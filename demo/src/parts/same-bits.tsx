// The library's promise, checked on the visitor's machine: every bit of every logit equals what Node computed when this page
// was built.

import { hashes, host } from "virtual:node-hashes";
import { useSignal } from "@preact/signals";
import type { Kitchen } from "../engine/kitchen.ts";
import { CANDIDATES, hashAll } from "../engine/machine.ts";
import { WEIGHT_TYPES, type WeightChoice } from "../engine/parity.ts";
import { trials } from "./backends.tsx";
import { Problem } from "./problem.tsx";

type Found = Readonly<Record<string, Partial<Record<WeightChoice, string>>>>;

const TYPE_NAMES: Readonly<Record<WeightChoice, string>> = { none: "f32", q8: "q8", q4: "q4" };

export function SameBits({ kitchen }: { readonly kitchen: Kitchen }) {
  const found = useSignal<Found>({});
  const isRunning = useSignal(false);
  const problem = useSignal<unknown>(undefined);
  const builds = CANDIDATES.filter(({ id, isExact }) => isExact && trials.value[id]?.runs).map(
    ({ id }) => id,
  );
  const run = async () => {
    isRunning.value = true;
    found.value = {};
    problem.value = undefined;
    try {
      await hashAll(kitchen, builds, WEIGHT_TYPES, (id, type, hash) => {
        found.value = { ...found.value, [id]: { ...found.value[id], [type]: hash } };
      });
    } catch (error) {
      problem.value = error;
    }
    isRunning.value = false;
  };
  return (
    <>
      <h3>The same bits</h3>
      <p class="note">
        One prompt, 24 tokens, the learned soup: the SHA-256 of every bit of every logit, in three
        weight types, by each build that runs here, beside what {host} computed when this page was
        built.
      </p>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scroll region has to be reachable */}
      <section class="scroll" tabIndex={0} aria-label="Hashes">
        <table class="hashes">
          <thead>
            <tr>
              <th scope="col">Where</th>
              {WEIGHT_TYPES.map((type) => (
                <th key={type} scope="col">
                  {TYPE_NAMES[type]}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            <tr data-node>
              <th scope="row">{host}</th>
              {WEIGHT_TYPES.map((type) => (
                <td key={type}>
                  <code title={hashes[type]}>{hashes[type].slice(0, 12)}</code>
                </td>
              ))}
            </tr>
            {builds.map((id) => (
              <tr key={id} data-build={id}>
                <th scope="row">{id}, here</th>
                {WEIGHT_TYPES.map((type) => (
                  <td key={type}>
                    <Hash hash={found.value[id]?.[type]} expected={hashes[type]} />
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      <div class="buttons">
        <button
          type="button"
          disabled={isRunning.value || builds.length === 0}
          onClick={() => void run()}
        >
          {isRunning.value ? "Computing…" : "Compute them here"}
        </button>
        <span class="note" role="status">
          {conclude(found.value, builds, isRunning.value)}
        </span>
      </div>
      <Problem error={problem.value} />
    </>
  );
}

function Hash({
  hash,
  expected,
}: {
  readonly hash: string | undefined;
  readonly expected: string;
}) {
  if (hash === undefined) return <span class="note">–</span>;
  const isSame = hash === expected;
  return (
    <span data-same={isSame ? "yes" : "no"}>
      <code title={hash}>{hash.slice(0, 12)}</code> {isSame ? "same" : "differs"}
    </span>
  );
}

function conclude(found: Found, builds: readonly string[], isRunning: boolean): string {
  const all = builds.flatMap((id) =>
    WEIGHT_TYPES.map((type) => [found[id]?.[type], hashes[type]] as const),
  );
  const done = all.filter(([hash]) => hash !== undefined);
  if (isRunning || done.length === 0) return "";
  const same = done.filter(([hash, expected]) => hash === expected).length;
  return `${same} of ${done.length} the same, to the last bit.`;
}
