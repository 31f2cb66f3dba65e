// What callers may say about a model hub, its cache and their warnings; and the defaults, from the environment where the host
// has one.
import { TureenError } from "../errors.ts";
import type { HubCache } from "./cache/cache.ts";
import type { ReadOptions } from "./source.ts";

/** Something that does not prevent the work but that a person should know. */
export interface Warning {
  /** `HUB_UNREACHABLE`: the newest revision is unknown, the cached one is used. `HUB_UNVERIFIED`: no hash to check. `BASE_MODEL_DIFFERS`: an adapter names another base. `CACHE_UNAVAILABLE`: files, or packed weights, are not kept. */
  readonly code: "HUB_UNREACHABLE" | "HUB_UNVERIFIED" | "BASE_MODEL_DIFFERS" | "CACHE_UNAVAILABLE";
  readonly message: string;
}

/** How far the download of a file, or of all shards of a model, has come. */
export interface DownloadProgress {
  /** Path in the repository of the file that is being downloaded. */
  readonly file: string;
  /** Bytes that have arrived, those of earlier attempts included. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** Over the last seconds. */
  readonly bytesPerSecond: number;
  /** `undefined` until there is a rate. */
  readonly secondsLeft: number | undefined;
}

/** How to reach a model hub and where to keep what comes from it. */
export interface HubOptions {
  /**
   * Only ever sent to the endpoint. Default: `HF_TOKEN`, or what `hf auth login` has stored, unless the option `endpoint` names
   * another hub than the one these are for. "" for none.
   */
  readonly token?: string | undefined;
  /** Default: `HF_ENDPOINT`, or https://huggingface.co. */
  readonly endpoint?: string | undefined;
  /** Never use the network, only the cache. Default: `HF_HUB_OFFLINE`. */
  readonly offline?: boolean | undefined;
  /**
   * `auto` (default): the folder that Python's tools use, or the browser's storage. `none`: keep nothing, read by range. Or a
   * cache of `openHubCache`.
   */
  readonly cache?: "auto" | "none" | HubCache | undefined;
  /** Where `auto` keeps files on a disk. Default: `HF_HUB_CACHE`, `HF_HOME`/hub, ~/.cache/huggingface/hub. */
  readonly cacheDir?: string | undefined;
  /**
   * Bytes that the cache may take. What was used longest ago is removed before a download, never what is in use. Default: no limit.
   */
  readonly cacheLimit?: number | undefined;
  /** False: use what the cache has, read the rest by range, and keep nothing more. Default true. */
  readonly keep?: boolean | undefined;
  /** Requests at once for a large file, 1 to 16. Default 4. */
  readonly parallel?: number | undefined;
}

/** Options of opening a set of files. */
export interface OpenOptions extends ReadOptions {
  readonly hub?: HubOptions | undefined;
  readonly onDownload?: ((progress: DownloadProgress) => void) | undefined;
  readonly onWarning?: ((warning: Warning) => void) | undefined;
}

/** Default of `HubOptions.endpoint`. */
export const HUB_ENDPOINT = "https://huggingface.co";

/** @throws TureenError `OPTION_INVALID` */
export function parseEndpoint(text: string): URL {
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    // reported below
  }
  if (url !== undefined && /^https?:$/.test(url.protocol)) {
    url.pathname = url.pathname.replace(/\/+$/, "");
    url.search = "";
    url.hash = "";
    return url;
  }
  throw new TureenError("OPTION_INVALID", "the hub's endpoint is not usable", {
    expected: "an http(s) URL",
    found: JSON.stringify(text),
    where: "HF_ENDPOINT or the option endpoint",
  });
}
