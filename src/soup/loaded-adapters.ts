// The adapters of one model: their files, and their segments in the backend. Owns those segments and their memory. Knows
// nothing of weights over them; that is a soup's business.
import type { Adapter } from "../adapters/adapter.ts";
import type { Segment, SegmentData } from "../backend/backend.ts";
import { TureenError, throwIfAborted } from "../errors.ts";
import type { LinearInfo } from "../model/config.ts";
import type { FileSet, ReadOptions } from "../sources/source.ts";
import { type AdapterIdentity, type BaseIdentity, identifyAdapter } from "./identity.ts";
import { nearestNames } from "./nearest-names.ts";

/** One linear layer's part of a loaded adapter. */
export interface LoadedModule {
  readonly linear: LinearInfo;
  readonly segment: Segment;
  /** The adapter's own factor: `lora_alpha / r`, or `lora_alpha / sqrt(r)` for rsLoRA. */
  readonly scaling: number;
}

/** An adapter whose segments lie in the backend. */
export interface LoadedAdapter {
  readonly name: string;
  readonly adapter: Adapter;
  readonly files: FileSet;
  /** In model order. */
  readonly modules: readonly LoadedModule[];
  /** Position in load order; never reused, so a name that is unloaded and loaded again is another adapter. */
  readonly serial: number;
  /** Memory of all segments, as packed. */
  readonly nBytes: number;
  /** False once it is unloaded. */
  readonly isLoaded: boolean;
}

export interface LoadedAdaptersOptions {
  /** In model order. */
  readonly linears: readonly LinearInfo[];
  /** Packs one linear layer's part of an adapter, to match how its base weight is held. */
  readonly loadSegment: (data: SegmentData) => Segment;
  readonly freeSegment: (segment: Segment) => void;
  readonly identifyBase: () => Promise<BaseIdentity>;
}

export class LoadedAdapters {
  readonly linears: ReadonlyMap<string, LinearInfo>;
  /** Decoder layers of the model. */
  readonly layers: number;
  readonly #options: LoadedAdaptersOptions;
  readonly #adapters = new Map<string, LoadedAdapter & { isLoaded: boolean }>();
  readonly #identities = new WeakMap<LoadedAdapter, Promise<AdapterIdentity>>();
  #base: Promise<BaseIdentity> | undefined;
  #nextSerial = 0;

  constructor(options: LoadedAdaptersOptions) {
    this.#options = options;
    const { linears } = options;
    this.linears = new Map(linears.map((linear) => [linear.path, linear]));
    this.layers = linears.reduce((max, { layer }) => Math.max(max, layer + 1), 0);
  }

  /** In load order. */
  list(): LoadedAdapter[] {
    return [...this.#adapters.values()];
  }

  /** @throws TureenError `ADAPTER_NOT_FOUND`, with the names that are loaded */
  get(name: string): LoadedAdapter {
    const loaded = this.#adapters.get(name);
    if (loaded !== undefined) return loaded;
    const names = [...this.#adapters.keys()];
    throw new TureenError("ADAPTER_NOT_FOUND", `no adapter is named "${name}"`, {
      hint: names.length === 0 ? "No adapter is loaded." : `Loaded: ${names.join(", ")}.`,
    });
  }

  /** @throws TureenError `ADAPTER_DUPLICATE`, `OPTION_INVALID` */
  checkName(name: string): void {
    if (typeof name !== "string" || name.trim() === "" || /[=,\p{Cc}]/u.test(name)) {
      throw new TureenError("OPTION_INVALID", "an adapter's name is not usable", {
        expected: "text without `=`, `,` and control characters",
        found: JSON.stringify(name) ?? String(name),
      });
    }
    if (this.#adapters.has(name)) {
      throw new TureenError("ADAPTER_DUPLICATE", `an adapter named "${name}" is already loaded`, {
        hint: "Choose another name, or unload that one first.",
      });
    }
  }

  /**
   * Packs every module of an open adapter. The adapter stays open, to be read again by `cat`, `fold` and hashing; it is
   * closed by `unload`. After a failure nothing is left in the backend, and the adapter is the caller's to close.
   */
  async add(
    name: string,
    adapter: Adapter,
    files: FileSet,
    options: ReadOptions = {},
  ): Promise<LoadedAdapter> {
    this.checkName(name);
    const modules: LoadedModule[] = [];
    try {
      for (const module of adapter.modules.values()) {
        throwIfAborted(options.signal);
        const linear = this.linear(module.path);
        const data = await adapter.readModule(module.path);
        const { path, rank, rows, cols } = module;
        const segment = this.#options.loadSegment({ name: path, rank, rows, cols, ...data });
        modules.push({ linear, segment, scaling: module.scaling });
      }
      this.checkName(name); // another load may have taken it meanwhile
    } catch (error) {
      for (const { segment } of modules) this.#options.freeSegment(segment);
      throw error;
    }
    const loaded = {
      name,
      adapter,
      files,
      modules,
      serial: this.#nextSerial++,
      nBytes: modules.reduce((sum, { segment }) => sum + segment.nBytes, 0),
      isLoaded: true,
    };
    this.#adapters.set(name, loaded);
    return loaded;
  }

  /** Frees an adapter's segments and closes its files. Soups that still give it weight fail from now on. */
  async unload(name: string): Promise<void> {
    const loaded = this.get(name) as LoadedAdapter & { isLoaded: boolean };
    this.#adapters.delete(name);
    loaded.isLoaded = false;
    for (const { segment } of loaded.modules) this.#options.freeSegment(segment);
    await loaded.adapter.close();
  }

  /** Of the model that the adapters are for. Computed once. */
  identifyBase(): Promise<BaseIdentity> {
    this.#base ??= this.#options.identifyBase().catch((error) => {
      this.#base = undefined;
      throw error;
    });
    return this.#base;
  }

  /** Hashes an adapter's files, the first time that it is asked for. */
  identify(loaded: LoadedAdapter, options: ReadOptions = {}): Promise<AdapterIdentity> {
    let identity = this.#identities.get(loaded);
    if (identity === undefined) {
      identity = identifyAdapter(loaded.name, loaded.files, options);
      this.#identities.set(loaded, identity);
      identity.catch(() => this.#identities.delete(loaded));
    }
    return identity;
  }

  /** Closes all files. The segments go with the backend. */
  async close(): Promise<void> {
    for (const loaded of this.#adapters.values()) {
      loaded.isLoaded = false;
      await loaded.adapter.close();
    }
    this.#adapters.clear();
  }

  /** @throws TureenError `SOUP_INVALID`, with the nearest paths */
  linear(path: string): LinearInfo {
    const linear = this.linears.get(path);
    if (linear !== undefined) return linear;
    throw new TureenError("SOUP_INVALID", `the model has no linear layer "${path}"`, {
      hint: `Nearest: ${nearestNames(path, this.linears.keys()).join(", ")}.`,
    });
  }
}
