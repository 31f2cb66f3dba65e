// Types of the library's objects as they are seen from the other side of a worker: methods and properties become promises, and
// arguments may be such objects again.
import type { Generation } from "../api/generation.ts";
import type { Model } from "../api/model.ts";
import type { GenerationChunk } from "../generate/generate.ts";
import type { Session } from "../generate/session.ts";
import type { StreamDecoder, Tokenizer } from "../model/tokenizer.ts";
import type { Soup } from "../soup/soup.ts";

/** What stays in the worker. */
type Held = Model | Soup | Session | Tokenizer | StreamDecoder | Generation;

// biome-ignore lint/suspicious/noExplicitAny: any function
type Method = (...args: any[]) => unknown;

/** A value of the library, as the page has it: data as it is, objects by their remote counterpart. */
export type Remote<T> = T extends Held
  ? RemoteObject<T>
  : T extends AsyncGenerator<infer Item>
    ? AsyncIterable<Item>
    : T extends Method | ArrayBufferView
      ? T
      : T extends object
        ? { [Key in keyof T]: Remote<T[Key]> }
        : T;

/** An argument as the page gives it: remote objects where the library takes its own. */
export type Local<T> = T extends Held
  ? Remote<T>
  : T extends Method | ArrayBufferView | ArrayBuffer | Blob | URL | AbortSignal
    ? T
    : T extends object
      ? { [Key in keyof T]: Local<T[Key]> }
      : T;

export type RemoteObject<T> = {
  readonly [Key in keyof T]: T[Key] extends (...args: infer Args) => infer Result
    ? (...args: { [I in keyof Args]: Local<Args[I]> }) => Promise<Remote<Awaited<Result>>>
    : Promise<Remote<T[Key]>>;
};

/** A text being generated in the worker; read it as a `Generation`. */
export interface RemoteGeneration extends AsyncIterable<string> {
  chunks(): AsyncIterable<GenerationChunk>;
  result(): ReturnType<Generation["result"]>;
}

/** A model in the worker: the methods of `Model`, each with a promise, and its properties as promises. */
export type RemoteModel = Omit<RemoteObject<Model>, "generate"> & {
  generate(
    prompt: Local<Parameters<Model["generate"]>[0]>,
    options?: Local<NonNullable<Parameters<Model["generate"]>[1]>>,
  ): RemoteGeneration;
};
