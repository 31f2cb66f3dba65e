declare module "virtual:kitchen" {
  /** Changes when a file does. */
  export const version: string;
  /** Below `kitchen/`. */
  export const files: readonly { readonly path: string; readonly nBytes: number }[];
}

declare module "virtual:node-hashes" {
  /** Who computed them, when the page was built. */
  export const host: string;
  export const hashes: import("./engine/parity.ts").BitHashes;
}
