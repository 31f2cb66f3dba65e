// A command is 16 words: an operation's code (op-codes.ts), flags, and its arguments in the order of its kernel.

// Argument `index` of a command.

export function ptr(command: usize, index: i32): usize {
  return load<usize>(command + (index << 2), 8);
}

export function int(command: usize, index: i32): i32 {
  return load<i32>(command + (index << 2), 8);
}

export function float(command: usize, index: i32): f32 {
  return load<f32>(command + (index << 2), 8);
}

/** Parts of a product: a table, or a single one at the command's end. */
export function parts(command: usize, index: i32): usize {
  const table = ptr(command, index);
  return table ? table : command + 40;
}
