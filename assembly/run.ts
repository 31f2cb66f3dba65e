// Runs a list of commands, on every thread alike: each operation takes its own share of the work by thread number, and all
// threads meet after it, unless the next command does not depend on it.
//
// A command is 16 words: operation, flags, then the operation's arguments in the order of its kernel.

import { add_bias } from "./add-bias";
import { attention, attention_combine, attention_parts } from "./attention";
import { attention_backward_f32 } from "./attention-backward";
import { cross_entropy_f32, rmsnorm_backward_f32, silu_mul_backward_f32 } from "./backward";
import { bank_down } from "./bank";
import { barrier } from "./barrier";
import { embed_floats, embed_q4, embed_q8 } from "./embed";
import { write_kv } from "./kv-cache";
import { linear } from "./linear";
import { add_bias_dot, add_dot, add_scaled, linear_backward } from "./linear-backward";
import { pack_activations_f32, pack_activations_q8 } from "./pack-activations";
import { pack_weights } from "./pack-weights";
import { rmsnorm_f32 } from "./rmsnorm";
import { rope_f32 } from "./rope";
import { silu_mul_f32 } from "./silu-mul";

export const OP_EMBED_F32: i32 = 0;
export const OP_EMBED_Q8: i32 = 1;
export const OP_EMBED_Q4: i32 = 2;
export const OP_RMSNORM: i32 = 3;
export const OP_PACK_F32: i32 = 4;
export const OP_PACK_I16: i32 = 5;
export const OP_PACK_I8: i32 = 6;
export const OP_LINEAR_F32: i32 = 7;
export const OP_LINEAR_Q8: i32 = 8;
export const OP_LINEAR_Q4: i32 = 9;
export const OP_ADD_BIAS: i32 = 10;
export const OP_ROPE: i32 = 11;
export const OP_WRITE_KV_F32: i32 = 12;
export const OP_WRITE_KV_F16: i32 = 13;
export const OP_ATTENTION_F32: i32 = 14;
export const OP_ATTENTION_F16: i32 = 15;
export const OP_ATTENTION_PARTS_F32: i32 = 16;
export const OP_ATTENTION_PARTS_F16: i32 = 17;
export const OP_ATTENTION_COMBINE: i32 = 18;
export const OP_SILU_MUL: i32 = 19;
export const OP_CROSS_ENTROPY: i32 = 20;
export const OP_LINEAR_BACKWARD: i32 = 21;
export const OP_ADD_SCALED: i32 = 22;
export const OP_ADD_DOT: i32 = 23;
export const OP_ADD_BIAS_DOT: i32 = 24;
export const OP_RMSNORM_BACKWARD: i32 = 25;
export const OP_ATTENTION_BACKWARD: i32 = 26;
export const OP_SILU_MUL_BACKWARD: i32 = 27;
export const OP_PACK_WEIGHTS_F32: i32 = 28;
export const OP_PACK_WEIGHTS_Q8: i32 = 29;
export const OP_PACK_WEIGHTS_Q4: i32 = 30;
export const OP_BANK_DOWN_F32: i32 = 31;
export const OP_BANK_DOWN_Q8: i32 = 32;
export const OP_BANK_DOWN_Q4: i32 = 33;
export const OP_EMBED_F16: i32 = 34;
export const OP_EMBED_BF16: i32 = 35;
export const OP_LINEAR_F16: i32 = 36;
export const OP_LINEAR_BF16: i32 = 37;
export const OP_PACK_WEIGHTS_F16: i32 = 38;
export const OP_PACK_WEIGHTS_BF16: i32 = 39;

/** The next command does not read what this one writes. */
export const NO_BARRIER: i32 = 1;

export const COMMAND_BYTES: i32 = 64;

export function run(list: usize, count: i32, control: usize, tid: i32, threads: i32): void {
  for (
    let command = list, end = list + count * COMMAND_BYTES;
    command < end;
    command += COMMAND_BYTES
  ) {
    execute(command, tid, threads);
    if (ASC_FEATURE_THREADS) {
      if (threads > 1 && !(load<i32>(command, 4) & NO_BARRIER)) barrier(control, threads);
    }
  }
}

function execute(c: usize, tid: i32, threads: i32): void {
  switch (load<i32>(c)) {
    case OP_EMBED_F32:
      embed_floats<f32>(ptr(c, 0), ptr(c, 1), ptr(c, 2), int(c, 3), int(c, 4), tid, threads);
      break;
    case OP_EMBED_F16:
      embed_floats<i16>(ptr(c, 0), ptr(c, 1), ptr(c, 2), int(c, 3), int(c, 4), tid, threads);
      break;
    case OP_EMBED_BF16:
      embed_floats<u16>(ptr(c, 0), ptr(c, 1), ptr(c, 2), int(c, 3), int(c, 4), tid, threads);
      break;
    case OP_EMBED_Q8:
      embed_q8(ptr(c, 0), ptr(c, 1), ptr(c, 2), int(c, 3), int(c, 4), tid, threads);
      break;
    case OP_EMBED_Q4:
      embed_q4(ptr(c, 0), ptr(c, 1), ptr(c, 2), int(c, 3), int(c, 4), tid, threads);
      break;
    case OP_RMSNORM:
      rmsnorm_f32(ptr(c, 0), ptr(c, 1), ptr(c, 2), int(c, 3), int(c, 4), float(c, 5), tid, threads);
      break;
    case OP_PACK_F32:
      pack_activations_f32(ptr(c, 0), ptr(c, 1), int(c, 2), int(c, 3), int(c, 4), tid, threads);
      break;
    case OP_PACK_I16:
      pack_activations_q8(
        ptr(c, 0),
        ptr(c, 1),
        int(c, 2),
        int(c, 3),
        int(c, 4),
        false,
        tid,
        threads,
      );
      break;
    case OP_PACK_I8:
      pack_activations_q8(
        ptr(c, 0),
        ptr(c, 1),
        int(c, 2),
        int(c, 3),
        int(c, 4),
        true,
        tid,
        threads,
      );
      break;
    case OP_LINEAR_F32:
      run_linear<f32>(c, tid, threads);
      break;
    case OP_LINEAR_F16:
      run_linear<i16>(c, tid, threads);
      break;
    case OP_LINEAR_BF16:
      run_linear<u16>(c, tid, threads);
      break;
    case OP_LINEAR_Q8:
      run_linear<i8>(c, tid, threads);
      break;
    case OP_LINEAR_Q4:
      run_linear<u8>(c, tid, threads);
      break;
    case OP_BANK_DOWN_F32:
      run_bank_down<f32>(c, tid, threads);
      break;
    case OP_BANK_DOWN_Q8:
      run_bank_down<i8>(c, tid, threads);
      break;
    case OP_BANK_DOWN_Q4:
      run_bank_down<u8>(c, tid, threads);
      break;
    case OP_ADD_BIAS:
      add_bias(ptr(c, 0), int(c, 1), ptr(c, 2), int(c, 3), int(c, 4), float(c, 5), tid, threads);
      break;
    case OP_ROPE:
      rope_f32(
        ptr(c, 0),
        int(c, 1),
        int(c, 2),
        int(c, 3),
        ptr(c, 4),
        int(c, 5),
        float(c, 6),
        tid,
        threads,
      );
      break;
    case OP_WRITE_KV_F32:
      run_write_kv<f32>(c, tid, threads);
      break;
    case OP_WRITE_KV_F16:
      run_write_kv<u16>(c, tid, threads);
      break;
    case OP_ATTENTION_F32:
      run_attention<f32>(c, tid, threads);
      break;
    case OP_ATTENTION_F16:
      run_attention<u16>(c, tid, threads);
      break;
    case OP_ATTENTION_PARTS_F32:
      run_attention_parts<f32>(c, tid, threads);
      break;
    case OP_ATTENTION_PARTS_F16:
      run_attention_parts<u16>(c, tid, threads);
      break;
    case OP_ATTENTION_COMBINE:
      attention_combine(
        ptr(c, 0),
        ptr(c, 1),
        int(c, 2),
        int(c, 3),
        int(c, 4),
        int(c, 5),
        int(c, 6),
        ptr(c, 7),
        tid,
        threads,
      );
      break;
    case OP_SILU_MUL:
      silu_mul_f32(ptr(c, 0), ptr(c, 1), ptr(c, 2), int(c, 3), tid, threads);
      break;
    default:
      execute_rare(c, tid, threads);
  }
}

function execute_rare(c: usize, tid: i32, threads: i32): void {
  switch (load<i32>(c)) {
    case OP_CROSS_ENTROPY:
      cross_entropy_f32(
        ptr(c, 0),
        ptr(c, 1),
        ptr(c, 2),
        ptr(c, 3),
        int(c, 4),
        int(c, 5),
        tid,
        threads,
      );
      break;
    case OP_LINEAR_BACKWARD:
      linear_backward(
        ptr(c, 0),
        ptr(c, 1),
        int(c, 2),
        ptr(c, 3),
        int(c, 4),
        int(c, 5),
        int(c, 6),
        int(c, 7),
        int(c, 8),
        ptr(c, 9),
        int(c, 10),
        tid,
        threads,
      );
      break;
    case OP_ADD_SCALED:
      add_scaled(ptr(c, 0), ptr(c, 1), int(c, 2), float(c, 3), tid, threads);
      break;
    case OP_ADD_DOT:
      add_dot(ptr(c, 0), ptr(c, 1), ptr(c, 2), int(c, 3), int(c, 4), int(c, 5), tid);
      break;
    case OP_ADD_BIAS_DOT:
      add_bias_dot(
        ptr(c, 0),
        ptr(c, 1),
        int(c, 2),
        ptr(c, 3),
        int(c, 4),
        int(c, 5),
        int(c, 6),
        tid,
      );
      break;
    case OP_RMSNORM_BACKWARD:
      rmsnorm_backward_f32(
        ptr(c, 0),
        ptr(c, 1),
        ptr(c, 2),
        ptr(c, 3),
        int(c, 4),
        int(c, 5),
        float(c, 6),
        tid,
        threads,
      );
      break;
    case OP_ATTENTION_BACKWARD:
      attention_backward_f32(
        ptr(c, 0),
        ptr(c, 1),
        ptr(c, 2),
        ptr(c, 3),
        ptr(c, 4),
        ptr(c, 5),
        ptr(c, 6),
        int(c, 7),
        int(c, 8),
        int(c, 9),
        int(c, 10),
        float(c, 11),
        ptr(c, 12),
        tid,
        threads,
      );
      break;
    case OP_SILU_MUL_BACKWARD:
      silu_mul_backward_f32(
        ptr(c, 0),
        ptr(c, 1),
        ptr(c, 2),
        ptr(c, 3),
        ptr(c, 4),
        int(c, 5),
        tid,
        threads,
      );
      break;
    case OP_PACK_WEIGHTS_F32:
      run_pack_weights<f32>(c, tid, threads);
      break;
    case OP_PACK_WEIGHTS_F16:
      run_pack_weights<i16>(c, tid, threads);
      break;
    case OP_PACK_WEIGHTS_BF16:
      run_pack_weights<u16>(c, tid, threads);
      break;
    case OP_PACK_WEIGHTS_Q8:
      run_pack_weights<i8>(c, tid, threads);
      break;
    case OP_PACK_WEIGHTS_Q4:
      run_pack_weights<u8>(c, tid, threads);
      break;
    default:
      unreachable();
  }
}

// Operations on several types.

function run_linear<T>(c: usize, tid: i32, threads: i32): void {
  linear<T>(
    ptr(c, 0),
    int(c, 1),
    parts(c, 2),
    int(c, 3),
    int(c, 4),
    int(c, 5),
    ptr(c, 6),
    int(c, 7),
    ptr(c, 12),
    tid,
    threads,
  );
}

function run_bank_down<T>(c: usize, tid: i32, threads: i32): void {
  bank_down<T>(ptr(c, 0), int(c, 1), ptr(c, 2), int(c, 3), int(c, 4), tid, threads);
}

function run_write_kv<T>(c: usize, tid: i32, threads: i32): void {
  write_kv<T>(
    ptr(c, 0),
    ptr(c, 1),
    ptr(c, 2),
    ptr(c, 3),
    int(c, 4),
    int(c, 5),
    int(c, 6),
    int(c, 7),
    int(c, 8),
    tid,
    threads,
  );
}

function run_attention<T>(c: usize, tid: i32, threads: i32): void {
  attention<T>(
    ptr(c, 0),
    ptr(c, 1),
    ptr(c, 2),
    ptr(c, 3),
    int(c, 4),
    int(c, 5),
    int(c, 6),
    int(c, 7),
    int(c, 8),
    int(c, 9),
    float(c, 10),
    ptr(c, 11),
    tid,
    threads,
  );
}

function run_attention_parts<T>(c: usize, tid: i32, threads: i32): void {
  attention_parts<T>(
    ptr(c, 0),
    ptr(c, 1),
    ptr(c, 2),
    ptr(c, 3),
    int(c, 4),
    int(c, 5),
    int(c, 6),
    int(c, 7),
    int(c, 8),
    int(c, 9),
    float(c, 10),
    ptr(c, 11),
    tid,
    threads,
  );
}

function run_pack_weights<T>(c: usize, tid: i32, threads: i32): void {
  pack_weights<T>(
    ptr(c, 0),
    ptr(c, 1),
    int(c, 2),
    int(c, 3),
    int(c, 4),
    ptr(c, 5),
    ptr(c, 6),
    tid,
    threads,
  );
}

// Argument `index` of a command.

function ptr(command: usize, index: i32): usize {
  return load<usize>(command + (index << 2), 8);
}

function int(command: usize, index: i32): i32 {
  return load<i32>(command + (index << 2), 8);
}

function float(command: usize, index: i32): f32 {
  return load<f32>(command + (index << 2), 8);
}

/** Parts of a product: a table, or a single one at the command's end. */
function parts(command: usize, index: i32): usize {
  const table = ptr(command, index);
  return table ? table : command + 40;
}
