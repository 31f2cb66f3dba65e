// The commands of the backward pass, for learning.

import { attention_backward_f32 } from "./attention-backward";
import { cross_entropy_f32, rmsnorm_backward_f32, silu_mul_backward_f32 } from "./backward";
import { float, int, ptr } from "./command";
import { gelu_mul_backward_f32 } from "./gelu-mul";
import { add_bias_dot, add_dot, add_scaled, linear_backward } from "./linear-backward";
import * as op from "./op-codes";

/** Runs a command of the backward pass. */
export function execute_backward(c: usize, tid: i32, threads: i32): void {
  switch (load<i32>(c)) {
    case op.OP_CROSS_ENTROPY:
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
    case op.OP_LINEAR_BACKWARD:
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
    case op.OP_ADD_SCALED:
      add_scaled(ptr(c, 0), ptr(c, 1), int(c, 2), float(c, 3), tid, threads);
      break;
    case op.OP_ADD_DOT:
      add_dot(ptr(c, 0), ptr(c, 1), ptr(c, 2), int(c, 3), int(c, 4), int(c, 5), tid);
      break;
    case op.OP_ADD_BIAS_DOT:
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
    case op.OP_RMSNORM_BACKWARD:
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
    case op.OP_ATTENTION_BACKWARD:
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
        int(c, 13),
        tid,
        threads,
      );
      break;
    case op.OP_SILU_MUL_BACKWARD:
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
    case op.OP_GELU_MUL_BACKWARD:
      gelu_mul_backward_f32(
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
    default:
      unreachable();
  }
}
