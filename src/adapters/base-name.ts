// Compares the base that an adapter names with the base that is loaded. Names are only names, and shapes decide what can be
// merged; but a base of the right shape and the wrong weights gives fluent nonsense, so a person is told.

const REPOSITORY = /^[\w.-]+\/[\w.-]+$/;

/**
 * Whether an adapter says that it was trained for another base.
 * @param adapterBase `base_model_name_or_path` of its config
 * @param modelId `org/name` of the loaded base, if it came from a hub
 * @returns a message, or `undefined` if the names agree or tell nothing
 */
export function findOtherBase(
  adapterBase: string | undefined,
  modelId: string | undefined,
): string | undefined {
  if (adapterBase === undefined || modelId === undefined) return undefined;
  const named = normalize(adapterBase);
  if (named === undefined || named === modelId.toLowerCase()) return undefined;
  // A path on the trainer's machine: only its last part can be compared.
  const isPath = !REPOSITORY.test(named);
  if (isPath && named.split("/").at(-1) === modelId.toLowerCase().split("/").at(-1))
    return undefined;
  return `the adapter says that it was trained for ${adapterBase}, and the base that is loaded is ${modelId}`;
}

/** Lower case, as the Hub compares; `undefined` for names that tell nothing, such as `../base`. */
function normalize(name: string): string | undefined {
  const text = name.trim().replaceAll("\\", "/").replace(/\/+$/, "").toLowerCase();
  if (text === "" || text.startsWith(".")) return undefined;
  const cached = /(?:^|\/)models--([^/]+)\/snapshots\//.exec(text);
  if (cached !== null) return cached[1]!.replace("--", "/");
  return text;
}
