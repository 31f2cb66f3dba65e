// The one door to Node's built-in modules, for Node, Deno and Bun. They are asked for at run time instead of imported, so
// that neither a browser nor a bundler ever meets a `node:` specifier. Elsewhere there are none.

interface Builtins {
  readonly "node:crypto": typeof import("node:crypto");
  readonly "node:fs/promises": typeof import("node:fs/promises");
  readonly "node:os": typeof import("node:os");
  readonly "node:path": typeof import("node:path");
  readonly "node:url": typeof import("node:url");
  readonly "node:worker_threads": typeof import("node:worker_threads");
}

/** `undefined` where the host has no such module. */
export function findBuiltin<Name extends keyof Builtins>(name: Name): Builtins[Name] | undefined {
  return globalThis.process?.getBuiltinModule?.(name) as Builtins[Name] | undefined;
}
