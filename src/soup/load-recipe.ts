// From a soup.json to a soup of loaded adapters, once their content is known to be what the recipe was made from.
import type { ReadOptions } from "../sources/source.ts";
import type { LoadedAdapters } from "./loaded-adapters.ts";
import { parseRecipe, verifyRecipe } from "./recipe.ts";
import { Soup } from "./soup.ts";

/** How strictly a recipe is matched with what is loaded. */
export interface LoadSoupOptions extends ReadOptions {
  /** Accept adapters and bases whose content is not what the recipe was made from. Default false. */
  readonly allowMismatch?: boolean | undefined;
}

/**
 * @param json text, parsed JSON or a `SoupRecipe`
 * @throws TureenError `SOUP_INVALID`, `FORMAT_UNSUPPORTED`, `ADAPTER_NOT_FOUND` if one is not loaded under its name
 */
export async function loadRecipe(
  json: unknown,
  adapters: LoadedAdapters,
  { allowMismatch = false, signal }: LoadSoupOptions = {},
): Promise<Soup> {
  const recipe = parseRecipe(json);
  const loaded = recipe.adapters.map(({ name }) => adapters.get(name));
  if (!allowMismatch) {
    const identities = [];
    for (const adapter of loaded) identities.push(await adapters.identify(adapter, { signal }));
    verifyRecipe(recipe, await adapters.identifyBase(), identities);
  }
  return new Soup(adapters, recipe.weights);
}
