// A checkpoint's tensors become a decoder's weights: names found, shapes checked against the config, everything packed by
// the backend. Reads whole rows by range, in the order of the file, so that no tensor lies in memory twice and a file can be
// read while it arrives. Knows nothing of file formats.
import type {
  Backend,
  Handle,
  Matrix,
  MatrixSource,
  Vector,
  WeightType,
} from "../backend/backend.ts";
import { type Packing, packedSize } from "../backend/packing.ts";
import { TureenError, throwIfAborted } from "../errors.ts";
import type { Checkpoint, TensorInfo } from "../formats/checkpoint.ts";
import { type FloatDType, isFloatDType, toFloat32 } from "../formats/float.ts";
import { type LinearInfo, listLinears, type ModelConfig } from "./config.ts";
import { adjustNorm } from "./norm-weights.ts";
import { EMBEDDING, linearTensor, TensorNames } from "./tensor-names.ts";

/** One linear layer's packed weight. */
export interface LinearWeights {
  readonly info: LinearInfo;
  /** [info.rows, info.cols] */
  readonly matrix: Matrix;
  /** [info.rows] */
  readonly bias: Vector | undefined;
  /** Reads the weight from the checkpoint again, as it was packed (unfold). The checkpoint must still be open. */
  readonly source: () => MatrixSource;
  /** The same as floats (fold). */
  readonly floats: () => FloatSource;
}

/** A matrix as floats. */
export type FloatSource = MatrixSource & { readonly dtype: FloatDType };

/** The weights of one decoder layer. */
export interface LayerWeights {
  /** `input_layernorm` [hiddenSize] */
  readonly attentionNorm: Vector;
  readonly qProj: LinearWeights;
  readonly kProj: LinearWeights;
  readonly vProj: LinearWeights;
  /** `q_norm` and `k_norm` [headDim], where the model has them */
  readonly qNorm: Vector | undefined;
  readonly kNorm: Vector | undefined;
  readonly oProj: LinearWeights;
  /** Of what attention gives, where the model has it: its `post_attention_layernorm` [hiddenSize] */
  readonly attentionOutputNorm: Vector | undefined;
  /** `post_attention_layernorm`, or there `pre_feedforward_layernorm` [hiddenSize] */
  readonly mlpNorm: Vector;
  readonly gateProj: LinearWeights;
  readonly upProj: LinearWeights;
  readonly downProj: LinearWeights;
  /** Of what the MLP gives: `post_feedforward_layernorm` [hiddenSize] */
  readonly mlpOutputNorm: Vector | undefined;
}

export interface DecoderWeights {
  /** [vocabSize, hiddenSize] */
  readonly embedding: Matrix;
  readonly layers: readonly LayerWeights[];
  /** [hiddenSize] */
  readonly norm: Vector;
  /** [vocabSize, hiddenSize]; with tied embeddings its matrix is `embedding` itself */
  readonly lmHead: LinearWeights;
  /** The same linear layers by `LinearInfo.path`, in model order. */
  readonly linears: ReadonlyMap<string, LinearWeights>;
  /** Of all weights, as packed. */
  readonly nBytes: number;
  /** Releases all of them. */
  free(): void;
}

/** Packed weights of an earlier load, or for a later one. Only for a backend with `packing`; in the order of the file. */
export interface PackedWeights {
  /** The next so many bytes, which are taken in place of the checkpoint's. */
  readonly read?: (nBytes: number) => AsyncIterable<Uint8Array>;
  /** Is shown what was packed, before the next is. */
  readonly write?: (bytes: Uint8Array) => Promise<void>;
}

/** How matrices are to be held: `none` as f32; `undefined` as the file holds them. Norms and biases are always f32. */
export type Quantize = "none" | "q8" | "q4" | undefined;

/** A tensor that is to be loaded, and how it will be held. */
export interface PlannedTensor extends TensorInfo {
  readonly type: WeightType;
}

export interface LoadWeightsOptions {
  readonly quantize?: Quantize;
  readonly packed?: PackedWeights | undefined;
  /** Called after every read, in bytes of the checkpoint. */
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Loads a Llama-family decoder. Tensor names may lack the prefix `model.`. Ends with nothing allocated if it fails.
 * @throws TureenError `MODEL_TENSOR_MISSING`, `MODEL_TENSOR_MISMATCH`, `FORMAT_UNSUPPORTED`, `WEIGHTS_NOT_FINITE`,
 * `OUT_OF_MEMORY`, `ABORTED`, and what reading throws
 */
export async function loadWeights(
  checkpoint: Checkpoint,
  config: ModelConfig,
  backend: Backend,
  options: LoadWeightsOptions = {},
): Promise<DecoderWeights> {
  const loader = new Loader(checkpoint, config, backend, options);
  try {
    return await loader.load();
  } catch (error) {
    loader.free();
    throw error;
  }
}

/**
 * What `loadWeights` loads, in its order; names and shapes are checked.
 * @throws TureenError `MODEL_TENSOR_MISSING`, `MODEL_TENSOR_MISMATCH`
 */
export function planWeights(
  checkpoint: Checkpoint,
  config: ModelConfig,
  quantize: Quantize,
): PlannedTensor[] {
  const names = new TensorNames(checkpoint, config);
  names.check();
  return names.inFileOrder().map((info) => ({ ...info, type: heldAs(info, quantize) }));
}

/** Vectors are f32 in any case. */
function heldAs({ shape, stored }: TensorInfo, quantize: Quantize): WeightType {
  if (shape.length !== 2 || quantize === "none") return "f32";
  return quantize ?? stored?.held ?? "f32";
}

/**
 * A tensor [rows, cols] of a checkpoint as floats.
 * @param onRead called with the bytes of each read, as they were read
 */
export function tensorSource(
  checkpoint: Checkpoint,
  name: string,
  signal?: AbortSignal,
  onRead?: (nBytes: number) => void,
): FloatSource {
  const info = checkpoint.tensors.get(name);
  if (info?.shape.length !== 2) throw new Error(`${name} is not a matrix of ${checkpoint.name}`);
  const dtype = floatDType(info);
  const [rows, cols] = info.shape as [number, number];
  const rowBytes = cols * (dtype === "F32" ? 4 : 2);
  return {
    name,
    rows,
    cols,
    dtype,
    async read(rowStart: number, nRows: number, into?: Uint8Array): Promise<Uint8Array> {
      throwIfAborted(signal);
      const nBytes = nRows * rowBytes;
      const bytes = await checkpoint.read(name, rowStart * rowBytes, nBytes, { signal, into });
      onRead?.(nBytes);
      return bytes;
    },
  };
}

/** A matrix as it is packed for its type: blocks as they are where the file has them, else floats. */
function plannedSource(
  checkpoint: Checkpoint,
  info: PlannedTensor,
  signal?: AbortSignal,
  onRead?: (nBytes: number) => void,
): MatrixSource {
  const { name, type, stored, shape } = info;
  const [rows, cols] = shape as [number, number];
  const count = (nRows: number): void => onRead?.((fileBytes(info) / rows) * nRows);
  if (stored?.held !== type || !stored.hasBlocks || checkpoint.readBlocks === undefined) {
    return tensorSource(checkpoint, name, signal, (nBytes) => count((nBytes / info.nBytes) * rows));
  }
  return {
    name,
    rows,
    cols,
    dtype: type === "q8" ? "Q8" : "Q4",
    async read(rowStart: number, nRows: number, into?: Uint8Array): Promise<Uint8Array> {
      throwIfAborted(signal);
      const bytes = await checkpoint.readBlocks!(name, rowStart, nRows, { signal, into });
      count(nRows);
      return bytes;
    },
  };
}

/**
 * A linear layer's weight as the checkpoint holds it, f32 [rows, cols]. With tied embeddings, `lm_head` is the embedding.
 */
export async function readLinear(
  checkpoint: Checkpoint,
  config: ModelConfig,
  path: string,
): Promise<Float32Array> {
  const { name } = new TensorNames(checkpoint, config).find(linearTensor(path, config));
  const source = tensorSource(checkpoint, name);
  return toFloat32(await source.read(0, source.rows), source.dtype);
}

/** What the place of a tensor may take beside its bytes. */
const ALIGNMENT = 64;

/** Whatever does not fit is refused here. @throws TureenError `OUT_OF_MEMORY` */
function reserve(packing: Packing, tensors: readonly PlannedTensor[]): void {
  packing.reserve(packedSize(packing, tensors) + ALIGNMENT * tensors.length);
}

function fileBytes({ nBytes, stored }: TensorInfo): number {
  return stored?.nBytes ?? nBytes;
}

class Loader {
  readonly #checkpoint: Checkpoint;
  readonly #config: ModelConfig;
  readonly #backend: Backend;
  readonly #quantize: Quantize;
  readonly #packed: PackedWeights;
  readonly #onProgress: ((bytesDone: number, bytesTotal: number) => void) | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #names: TensorNames;
  readonly #loaded: Handle[] = [];
  /** By the checkpoint's names, as what follows. */
  readonly #plan = new Map<string, PlannedTensor>();
  readonly #matrices = new Map<string, Matrix>();
  readonly #vectors = new Map<string, Vector>();
  #nBytes = 0;
  #bytesDone = 0;
  #bytesTotal = 0;

  constructor(
    checkpoint: Checkpoint,
    config: ModelConfig,
    backend: Backend,
    { quantize, packed = {}, onProgress, signal }: LoadWeightsOptions,
  ) {
    this.#checkpoint = checkpoint;
    this.#config = config;
    this.#backend = backend;
    this.#quantize = quantize;
    this.#packed = packed;
    this.#onProgress = onProgress;
    this.#signal = signal;
    this.#names = new TensorNames(checkpoint, config);
  }

  /** Every name and shape is checked before the first byte is read. */
  async load(): Promise<DecoderWeights> {
    const config = this.#config;
    const plan = planWeights(this.#checkpoint, config, this.#quantize);
    for (const info of plan) this.#plan.set(info.name, info);
    this.#bytesTotal = plan.reduce((sum, info) => sum + fileBytes(info), 0);
    if (this.#backend.packing !== undefined) reserve(this.#backend.packing, plan);
    for (const tensor of plan) {
      throwIfAborted(this.#signal);
      if (tensor.shape.length === 2) await this.#loadMatrix(tensor);
      else await this.#loadVector(tensor);
    }
    const linears = new Map<string, LinearWeights>();
    for (const info of listLinears(config)) linears.set(info.path, this.#linear(info));
    const layers: LayerWeights[] = [];
    for (let layer = 0; layer < config.layers; layer++) {
      const prefix = `model.layers.${layer}`;
      const linear = (name: string): LinearWeights => linears.get(`${prefix}.${name}`)!;
      const norm = (name: string): Vector | undefined =>
        this.#expectedVector(`${prefix}.${name}_layernorm.weight`);
      const [afterAttention, beforeMlp] = [norm("post_attention")!, norm("pre_feedforward")];
      layers.push({
        attentionNorm: this.#vector(`${prefix}.input_layernorm.weight`),
        qProj: linear("self_attn.q_proj"),
        kProj: linear("self_attn.k_proj"),
        vProj: linear("self_attn.v_proj"),
        qNorm: this.#expectedVector(`${prefix}.self_attn.q_norm.weight`),
        kNorm: this.#expectedVector(`${prefix}.self_attn.k_norm.weight`),
        oProj: linear("self_attn.o_proj"),
        attentionOutputNorm: beforeMlp && afterAttention,
        mlpNorm: beforeMlp ?? afterAttention,
        gateProj: linear("mlp.gate_proj"),
        upProj: linear("mlp.up_proj"),
        downProj: linear("mlp.down_proj"),
        mlpOutputNorm: norm("post_feedforward"),
      });
    }
    return {
      embedding: this.#matrix(EMBEDDING),
      layers,
      norm: this.#vector("model.norm.weight"),
      lmHead: linears.get("lm_head")!,
      linears,
      nBytes: this.#nBytes,
      free: () => this.free(),
    };
  }

  free(): void {
    for (const handle of this.#loaded.splice(0)) this.#backend.free(handle);
  }

  #linear(info: LinearInfo): LinearWeights {
    const name = linearTensor(info.path, this.#config);
    const bias = this.#expectedVector(`${info.path}.bias`);
    const found = this.#names.find(name).name;
    const planned = this.#plan.get(found)!;
    const source = (): MatrixSource => plannedSource(this.#checkpoint, planned);
    const floats = (): FloatSource => tensorSource(this.#checkpoint, found);
    return { info, matrix: this.#matrix(name), bias, source, floats };
  }

  #matrix(name: string): Matrix {
    return this.#matrices.get(this.#names.find(name).name)!;
  }

  #vector(name: string): Vector {
    return this.#vectors.get(this.#names.find(name).name)!;
  }

  /** `undefined` where the architecture has no such tensor. */
  #expectedVector(name: string): Vector | undefined {
    return this.#names.expects(name) ? this.#vector(name) : undefined;
  }

  async #loadMatrix(info: PlannedTensor): Promise<void> {
    const { read, write } = this.#packed;
    const matrix = read ? await this.#readMatrix(info, read) : await this.#packMatrix(info);
    this.#nBytes += matrix.nBytes;
    this.#loaded.push(matrix);
    this.#matrices.set(info.name, matrix);
    await write?.(this.#backend.packing!.bytes(matrix));
  }

  #packMatrix(info: PlannedTensor): Promise<Matrix> {
    const onRead = (nBytes: number): void => this.#progress(nBytes);
    const source = plannedSource(this.#checkpoint, info, this.#signal, onRead);
    return this.#backend.loadMatrix(source, info.type);
  }

  async #readMatrix(
    info: PlannedTensor,
    read: NonNullable<PackedWeights["read"]>,
  ): Promise<Matrix> {
    const packing = this.#backend.packing!;
    const [rows, cols] = info.shape as [number, number];
    const pieces = read(packing.nBytes(info, rows, cols));
    const matrix = await packing.load(info, rows, cols, pieces);
    this.#progress(fileBytes(info));
    return matrix;
  }

  async #loadVector(info: TensorInfo): Promise<void> {
    const { read, write } = this.#packed;
    const values = new Float32Array(info.shape[0]!);
    const bytes = new Uint8Array(values.buffer);
    if (read) {
      let done = 0;
      for await (const piece of read(bytes.length)) {
        bytes.set(piece, done);
        done += piece.length;
      }
    } else {
      const { name, nBytes } = info;
      const file = await this.#checkpoint.read(name, 0, nBytes, { signal: this.#signal });
      values.set(toFloat32(file, floatDType(info)));
      adjustNorm(values, info.name, this.#config);
    }
    const vector = this.#backend.loadVector(info.name, values);
    this.#progress(fileBytes(info));
    this.#nBytes += 4 * vector.length;
    this.#loaded.push(vector);
    this.#vectors.set(info.name, vector);
    await write?.(bytes);
  }

  #progress(nBytes: number): void {
    this.#bytesDone += nBytes;
    this.#onProgress?.(this.#bytesDone, this.#bytesTotal);
  }
}

function floatDType({ name, dtype, file }: TensorInfo): FloatDType {
  if (isFloatDType(dtype)) return dtype;
  throw new TureenError("FORMAT_UNSUPPORTED", `${name} has an unsupported type`, {
    expected: "F32, F16 or BF16",
    found: dtype,
    where: file,
    hint: "Convert the model to one of these types first",
  });
}
