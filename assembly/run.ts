// Runs a list of commands, on every thread alike: each operation takes its own share of the work by thread number, and all
// threads meet after it, unless the next command does not depend on it.

import { add_bias } from "./add-bias";
import { attention, attention_combine, attention_parts } from "./attention";
import { bank_down } from "./bank";
import { barrier } from "./barrier";
import { float, int, parts, ptr } from "./command";
import { embed_floats, embed_q4, embed_q8 } from "./embed";
import { gelu_mul_f32 } from "./gelu-mul";
import { write_kv } from "./kv-cache";
import { linear } from "./linear";
import * as op from "./op-codes";
import { pack_activations_f32, pack_activations_q8 } from "./pack-activations";
import { pack_weights } from "./pack-weights";
import { rmsnorm_f32 } from "./rmsnorm";
import { rope_f32 } from "./rope";
import { execute_backward } from "./run-backward";
import { silu_mul_f32 } from "./silu-mul";

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
    case op.OP_EMBED_F32:
      run_embed_floats<f32>(c, tid, threads);
      break;
    case op.OP_EMBED_F16:
      run_embed_floats<i16>(c, tid, threads);
      break;
    case op.OP_EMBED_BF16:
      run_embed_floats<u16>(c, tid, threads);
      break;
    case op.OP_EMBED_Q8:
      embed_q8(ptr(c, 0), ptr(c, 1), ptr(c, 2), int(c, 3), int(c, 4), float(c, 5), tid, threads);
      break;
    case op.OP_EMBED_Q4:
      embed_q4(ptr(c, 0), ptr(c, 1), ptr(c, 2), int(c, 3), int(c, 4), float(c, 5), tid, threads);
      break;
    case op.OP_RMSNORM:
      rmsnorm_f32(
        ptr(c, 0),
        ptr(c, 1),
        ptr(c, 2),
        int(c, 3),
        int(c, 4),
        float(c, 5),
        int(c, 6) !== 0,
        tid,
        threads,
      );
      break;
    case op.OP_PACK_F32:
      pack_activations_f32(ptr(c, 0), ptr(c, 1), int(c, 2), int(c, 3), int(c, 4), tid, threads);
      break;
    case op.OP_PACK_I16:
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
    case op.OP_PACK_I8:
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
    case op.OP_LINEAR_F32:
      run_linear<f32>(c, tid, threads);
      break;
    case op.OP_LINEAR_F16:
      run_linear<i16>(c, tid, threads);
      break;
    case op.OP_LINEAR_BF16:
      run_linear<u16>(c, tid, threads);
      break;
    case op.OP_LINEAR_Q8:
      run_linear<i8>(c, tid, threads);
      break;
    case op.OP_LINEAR_Q4:
      run_linear<u8>(c, tid, threads);
      break;
    case op.OP_BANK_DOWN_F32:
      run_bank_down<f32>(c, tid, threads);
      break;
    case op.OP_BANK_DOWN_Q8:
      run_bank_down<i8>(c, tid, threads);
      break;
    case op.OP_BANK_DOWN_Q4:
      run_bank_down<u8>(c, tid, threads);
      break;
    case op.OP_ADD_BIAS:
      add_bias(ptr(c, 0), int(c, 1), ptr(c, 2), int(c, 3), int(c, 4), float(c, 5), tid, threads);
      break;
    case op.OP_ROPE:
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
    case op.OP_WRITE_KV_F32:
      run_write_kv<f32>(c, tid, threads);
      break;
    case op.OP_WRITE_KV_F16:
      run_write_kv<u16>(c, tid, threads);
      break;
    case op.OP_ATTENTION_F32:
      run_attention<f32>(c, tid, threads);
      break;
    case op.OP_ATTENTION_F16:
      run_attention<u16>(c, tid, threads);
      break;
    case op.OP_ATTENTION_PARTS_F32:
      run_attention_parts<f32>(c, tid, threads);
      break;
    case op.OP_ATTENTION_PARTS_F16:
      run_attention_parts<u16>(c, tid, threads);
      break;
    case op.OP_ATTENTION_COMBINE:
      attention_combine(
        ptr(c, 0),
        ptr(c, 1),
        int(c, 2),
        int(c, 3),
        int(c, 4),
        int(c, 5),
        int(c, 6),
        ptr(c, 7),
        int(c, 8),
        tid,
        threads,
      );
      break;
    case op.OP_SILU_MUL:
      silu_mul_f32(ptr(c, 0), ptr(c, 1), ptr(c, 2), int(c, 3), tid, threads);
      break;
    case op.OP_GELU_MUL:
      gelu_mul_f32(ptr(c, 0), ptr(c, 1), ptr(c, 2), int(c, 3), tid, threads);
      break;
    case op.OP_PACK_WEIGHTS_F32:
      run_pack_weights<f32>(c, tid, threads);
      break;
    case op.OP_PACK_WEIGHTS_F16:
      run_pack_weights<i16>(c, tid, threads);
      break;
    case op.OP_PACK_WEIGHTS_BF16:
      run_pack_weights<u16>(c, tid, threads);
      break;
    case op.OP_PACK_WEIGHTS_Q8:
      run_pack_weights<i8>(c, tid, threads);
      break;
    case op.OP_PACK_WEIGHTS_Q4:
      run_pack_weights<u8>(c, tid, threads);
      break;
    default:
      execute_backward(c, tid, threads);
  }
}

// Operations on several types.

function run_embed_floats<T>(c: usize, tid: i32, threads: i32): void {
  embed_floats<T>(ptr(c, 0), ptr(c, 1), ptr(c, 2), int(c, 3), int(c, 4), float(c, 5), tid, threads);
}

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
    int(c, 12),
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
    int(c, 12),
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
