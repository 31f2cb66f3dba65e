// The one place that reads the environment variables of the Hugging Face tools, and of Tureen's own cache. Hosts without an environment (browsers) have
// none set, and pass options instead.
import { findBuiltin } from "../node-builtin.ts";

/** What the environment says about the Hub and its cache. */
export interface HubEnvironment {
  readonly endpoint: string | undefined;
  readonly token: string | undefined;
  readonly offline: boolean;
  /** The folder of the cache; `undefined` where there is no home. */
  readonly cacheDir: string | undefined;
  /** The folder of what is Tureen's own. */
  readonly ownCacheDir: string | undefined;
  /** Where `hf auth login` keeps the token. */
  readonly tokenFile: string | undefined;
}

type Variables = Readonly<Record<string, string | undefined>>;

/** @param variables default: the process's */
export function readHubEnvironment(variables: Variables = processVariables()): HubEnvironment {
  const get = (name: string): string | undefined => {
    try {
      return variables[name]?.trim() || undefined;
    } catch {
      return undefined; // Deno without permission to read it
    }
  };
  const user = get("HOME") ?? get("USERPROFILE");
  const caches = get("XDG_CACHE_HOME") ?? (user === undefined ? undefined : `${user}/.cache`);
  const standard = caches === undefined ? undefined : `${caches}/huggingface`;
  const home = expandHome(get("HF_HOME") ?? standard, user);
  const cacheDir = get("HF_HUB_CACHE") ?? get("HUGGINGFACE_HUB_CACHE");
  return {
    endpoint: get("HF_ENDPOINT"),
    token: get("HF_TOKEN"),
    offline: /^(1|on|yes|true)$/i.test(get("HF_HUB_OFFLINE") ?? ""),
    cacheDir: expandHome(cacheDir ?? (home === undefined ? undefined : `${home}/hub`), user),
    ownCacheDir: expandHome(get("TUREEN_CACHE") ?? (caches && `${caches}/tureen`), user),
    tokenFile: expandHome(
      get("HF_TOKEN_PATH") ?? (home === undefined ? undefined : `${home}/token`),
      user,
    ),
  };
}

function expandHome(path: string | undefined, user: string | undefined): string | undefined {
  return user === undefined ? path : path?.replace(/^~(?=\/|$)/, user);
}

function processVariables(): Variables {
  try {
    const host = globalThis as { process?: { env?: Variables } };
    return host.process?.env ?? {};
  } catch {
    return {};
  }
}

/** The token of `hf auth login`, where there is one and it may be read. */
export async function readTokenFile({ tokenFile }: HubEnvironment): Promise<string | undefined> {
  if (tokenFile === undefined) return undefined;
  const fs = findBuiltin("node:fs/promises");
  const text = await fs?.readFile(tokenFile, "utf8").catch(() => undefined);
  return text?.trim() || undefined;
}
