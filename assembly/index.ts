// What the host sees. Kernels are stateless functions over offsets; src/backend/wasm owns the memory.

export { exp_f32 } from "./exp";
export { fill_rope, power } from "./rope";
export * from "./run"; // the operation codes too, as globals: test/backend/op-codes.test.ts holds TypeScript to them
export * from "./threads";

/** First byte after the module's own data. */
export function heap_base(): usize {
  return __heap_base;
}
