// One end of a channel between a page and its worker. Both ends are alike: data is copied, whatever has methods stays where it
// is and the other end gets an object that asks for it. Knows nothing of models. (comlink was weighed: it passes neither
// errors with codes, nor signals, iterables and handles inside of options.)
import { TureenError } from "../errors.ts";

/** A Worker, a MessagePort or a worker's own scope, whichever the host has. */
export interface Channel {
  post(message: unknown, transfer: Transferable[]): void;
  listen(receive: (message: unknown) => void): void;
  /** Tells whether answers are awaited, so that a host may exit when none are. */
  hold?(waiting: boolean): void;
}

/** A value as it travels: plain data, or a mark for what data cannot say. */
type Encoded = unknown;

interface Mark {
  readonly $: "object" | "function" | "own" | "data" | "error" | "signal" | "url";
  readonly id?: number;
  /** Of an object: its methods, its properties (asked for one by one), its data (copied). */
  readonly methods?: readonly string[];
  readonly properties?: readonly string[];
  readonly data?: Encoded;
  readonly iterable?: boolean;
  readonly code?: TureenError["code"];
  readonly message?: string;
}

type Message =
  | { kind: "call"; id: number; target: number; member: string; args: Encoded }
  | { kind: "get"; id: number; target: number; member: string }
  | { kind: "result"; id: number; value: Encoded }
  | { kind: "failure"; id: number; error: Encoded }
  | { kind: "abort"; signal: number; reason: Encoded }
  | { kind: "release"; target: number };

/** Buffers that the next message takes along instead of copying. */
const transfers = new WeakMap<object, ArrayBuffer[]>();

/**
 * Marks an argument's buffers to be moved to the other side instead of copied; they are then empty here.
 * @returns the argument
 */
export function transfer<T extends object>(value: T, buffers: readonly ArrayBuffer[]): T {
  transfers.set(value, [...buffers]);
  return value;
}

export interface EndpointOptions {
  /** Whether properties of objects are copied when they are sent, or asked for one by one later. */
  readonly properties: "copied" | "asked";
  /** Whether a method's result may be moved instead of copied. */
  readonly moves?: (member: string) => boolean;
}

export class Endpoint {
  readonly #channel: Channel;
  readonly #options: EndpointOptions;
  readonly #waiting = new Map<
    number,
    { resolve(value: unknown): void; reject(error: unknown): void }
  >();
  /** Objects of this side by number, for the other side to call. */
  readonly #held = new Map<number, object>();
  readonly #numbers = new WeakMap<object, number>();
  /** Numbers, on their own side, of objects of the other side. */
  readonly #remote = new WeakMap<object, number>();
  readonly #signals = new WeakMap<AbortSignal, number>();
  readonly #controllers = new Map<number, AbortController>();
  readonly #released = new FinalizationRegistry<number>((target) => {
    this.#send({ kind: "release", target });
  });
  #next = 1;
  #broken: TureenError | undefined;

  constructor(channel: Channel, options: EndpointOptions) {
    this.#channel = channel;
    this.#options = options;
    channel.listen((message) => void this.#receive(message as Message));
  }

  /** Makes an object callable as `target` 0 of the other end. */
  expose(root: object): void {
    this.#held.set(0, root);
  }

  /** @returns what the member of the other side's object `target` returns there */
  call(target: number, member: string, args: readonly unknown[]): Promise<unknown> {
    return this.#ask((id) => {
      const moved: ArrayBuffer[] = [];
      const encoded = args.map((arg) => this.#encode(arg, moved));
      this.#send({ kind: "call", id, target, member, args: encoded }, moved);
    });
  }

  /** Rejects everything that waits, now and later. */
  break(error: TureenError): void {
    this.#broken ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#broken);
    this.#waiting.clear();
    this.#channel.hold?.(false);
  }

  async #ask(send: (id: number) => void): Promise<unknown> {
    if (this.#broken !== undefined) throw this.#broken;
    const id = this.#next++;
    try {
      return await new Promise((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject });
        this.#channel.hold?.(true);
        send(id);
      });
    } finally {
      this.#waiting.delete(id);
      if (this.#waiting.size === 0) this.#channel.hold?.(false);
    }
  }

  #send(message: Message, moved: readonly ArrayBuffer[] = []): void {
    this.#channel.post(message, [...moved]);
  }

  async #receive(message: Message): Promise<void> {
    switch (message.kind) {
      case "result":
        return this.#waiting.get(message.id)?.resolve(this.#decode(message.value));
      case "failure":
        return this.#waiting.get(message.id)?.reject(this.#decode(message.error));
      case "release":
        return void this.#held.delete(message.target);
      case "abort":
        return this.#controllers.get(message.signal)?.abort(this.#decode(message.reason));
      default:
        return this.#answer(message);
    }
  }

  async #answer(message: Extract<Message, { kind: "call" | "get" }>): Promise<void> {
    const { id, kind, target, member } = message;
    try {
      // biome-ignore lint/suspicious/noExplicitAny: members are looked up by name
      const object = this.#held.get(target) as any;
      if (object === undefined) throw new TureenError("DISPOSED", "the object was released");
      const value =
        kind === "get"
          ? await object[member]
          : await object[nameToKey(member)](...(this.#decode(message.args) as unknown[]));
      const moved: ArrayBuffer[] = [];
      const encoded = this.#encode(value, moved);
      if (this.#options.moves?.(member) && value instanceof Float32Array && ownsBuffer(value)) {
        moved.push(value.buffer);
      }
      this.#send({ kind: "result", id, value: encoded }, moved);
    } catch (error) {
      this.#send({ kind: "failure", id, error: this.#encode(error, []) });
    }
  }

  // ---- values

  #encode(value: unknown, moved: ArrayBuffer[]): Encoded {
    if ((typeof value !== "object" && typeof value !== "function") || value === null) return value;
    const remote = this.#remote.get(value);
    if (remote !== undefined) return { $: "own", id: remote } satisfies Mark;
    if (typeof value === "function") return { $: "function", id: this.#hold(value) } satisfies Mark;
    moved.push(...(transfers.get(value) ?? []));
    if (Array.isArray(value)) return value.map((item) => this.#encode(item, moved));
    if (value instanceof TureenError) {
      const { code, message, details, cause } = value;
      const data = { details, cause: cause instanceof Error ? String(cause) : undefined };
      return { $: "error", code, message, data } satisfies Mark;
    }
    if (value instanceof URL) return { $: "url", message: value.href } satisfies Mark;
    if (value instanceof AbortSignal) return this.#encodeSignal(value);
    if (isCloneable(value)) return value;
    const prototype = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null)
      return this.#encodeObject(value, moved);
    const entries = Object.entries(value).map(([key, item]) => {
      const isMethod = typeof item === "function" && !this.#remote.has(item);
      return [key, this.#encode(isMethod ? item.bind(value) : item, moved)];
    });
    const data = Object.fromEntries(entries);
    return "$" in data ? ({ $: "data", data } satisfies Mark) : data;
  }

  #encodeSignal(signal: AbortSignal): Mark {
    let id = this.#signals.get(signal);
    if (id === undefined) {
      id = this.#next++;
      const number = id;
      this.#signals.set(signal, id);
      const tell = () => {
        this.#send({ kind: "abort", signal: number, reason: this.#encode(signal.reason, []) });
      };
      signal.addEventListener("abort", tell, { once: true });
    }
    const data = signal.aborted ? [this.#encode(signal.reason, [])] : [];
    return { $: "signal", id, data };
  }

  #encodeObject(value: object, moved: ArrayBuffer[]): Mark {
    const { methods, properties } = listMembers(value);
    const mark = {
      $: "object",
      id: this.#hold(value),
      methods,
      iterable: Symbol.asyncIterator in value,
    } as const;
    if (this.#options.properties === "asked") return { ...mark, properties };
    // biome-ignore lint/suspicious/noExplicitAny: members are looked up by name
    const data = properties.map((name) => [name, this.#encode((value as any)[name], moved)]);
    return { ...mark, data: Object.fromEntries(data) };
  }

  #hold(value: object): number {
    let id = this.#numbers.get(value);
    if (id === undefined) {
      id = this.#next++;
      this.#numbers.set(value, id);
    }
    this.#held.set(id, value);
    return id;
  }

  #decode(value: Encoded): unknown {
    if (typeof value !== "object" || value === null) return value;
    if (Array.isArray(value)) return value.map((item) => this.#decode(item));
    if ("$" in value) return this.#decodeMark(value as Mark);
    if (isCloneable(value)) return value;
    return this.#decodeEntries(value);
  }

  #decodeEntries(value: object): Record<string, unknown> {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, this.#decode(item)]),
    );
  }

  #decodeMark(mark: Mark): unknown {
    switch (mark.$) {
      case "own":
        return this.#held.get(mark.id!);
      case "data":
        return this.#decodeEntries(mark.data as object);
      case "url":
        return new URL(mark.message!);
      case "function":
        return this.#adopt(mark.id!, (...args: unknown[]) =>
          this.call(mark.id!, "call", [undefined, ...args]),
        );
      case "error": {
        const { details, cause } = mark.data as { details: object; cause: unknown };
        const error = new TureenError(
          mark.code!,
          "",
          details,
          cause === undefined ? {} : { cause },
        );
        return Object.defineProperty(error, "message", { value: mark.message });
      }
      case "signal": {
        const controller = this.#controllers.get(mark.id!) ?? new AbortController();
        this.#controllers.set(mark.id!, controller);
        const [reason] = mark.data as Encoded[];
        if ((mark.data as Encoded[]).length > 0) controller.abort(this.#decode(reason));
        return controller.signal;
      }
      default:
        return this.#decodeObject(mark);
    }
  }

  #decodeObject({ id, methods, properties = [], data = {}, iterable }: Mark): object {
    const object: Record<string | symbol, unknown> = this.#decodeEntries(data as object);
    for (const name of methods!) {
      object[nameToKey(name)] = (...args: unknown[]) => this.call(id!, name, args);
    }
    for (const name of properties) {
      const get = () =>
        this.#ask((ask) => this.#send({ kind: "get", id: ask, target: id!, member: name }));
      Object.defineProperty(object, name, { get, enumerable: true });
    }
    if (iterable === true) object[Symbol.asyncIterator] = () => this.#iterate(id!, object);
    return this.#adopt(id!, object);
  }

  /** An iterator of the other side is asked for one item at a time, so a slow reader slows the writer. */
  async *#iterate(id: number, object: Record<string, unknown>): AsyncGenerator<unknown> {
    const isIterator = "next" in object;
    const open = isIterator ? object : await this.call(id, ITERATE, []);
    const iterator = open as AsyncGenerator<unknown>;
    let finished = false;
    try {
      for (;;) {
        const { done, value } = await iterator.next();
        if (done === true) {
          finished = true;
          return value;
        }
        yield value;
      }
    } finally {
      if (!finished) await iterator.return?.(undefined).catch(() => {});
    }
  }

  #adopt<T extends object>(id: number, object: T): T {
    this.#remote.set(object, id);
    this.#released.register(object, id);
    return object;
  }
}

/** Symbols do not travel: these names stand for them. */
const ITERATE = "@@asyncIterator";
const SYMBOLS: Readonly<Record<string, symbol>> = {
  [ITERATE]: Symbol.asyncIterator,
  "@@asyncDispose": Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose"),
  "@@dispose": Symbol.dispose ?? Symbol.for("Symbol.dispose"),
};

function nameToKey(name: string): string | symbol {
  return SYMBOLS[name] ?? name;
}

/** What structured cloning copies whole. Compared by tag, since workers of some hosts have their own constructors. */
function isCloneable(value: object): boolean {
  if (ArrayBuffer.isView(value)) return true;
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  return (
    /^(ArrayBuffer|SharedArrayBuffer|Blob|File|Date|RegExp|Map|Set|Error|DOMException)$/.test(
      tag,
    ) || /^(FileSystem\w*Handle|WebAssembly\.Module)$/.test(tag)
  );
}

function listMembers(value: object): { methods: string[]; properties: string[] } {
  const methods = new Set<string>();
  const properties = new Set<string>();
  for (let at = value; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const [name, { value: member, get }] of Object.entries(
      Object.getOwnPropertyDescriptors(at),
    )) {
      if (name === "constructor") continue;
      if (typeof member === "function") methods.add(name);
      else if (get !== undefined || at === value) properties.add(name);
    }
  }
  for (const [name, symbol] of Object.entries(SYMBOLS)) {
    if (name !== ITERATE && symbol in value) methods.add(name);
  }
  return { methods: [...methods], properties: [...properties] };
}

function ownsBuffer(array: Float32Array): array is Float32Array<ArrayBuffer> {
  return array.buffer instanceof ArrayBuffer && array.byteLength === array.buffer.byteLength;
}
