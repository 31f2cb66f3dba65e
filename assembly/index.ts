// What the host sees. Kernels are stateless functions over offsets; src/backend/wasm owns the memory.

export { exp_f32 } from "./exp";
export * from "./op-codes";
export { fill_rope, power } from "./rope";
export * from "./run";
export * from "./threads";

/** First byte after the module's own data. */
export function heap_base(): usize {
  return __heap_base;
}
