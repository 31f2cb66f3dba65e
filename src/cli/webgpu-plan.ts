// What the WebGPU backend would do for a model of a given shape, counted without weights and without a GPU: dispatches and bytes
// per decoded token against the least there could be, and the buffers that it would allocate.
import type { Matrix, MatrixSource, SoupEntry, WeightType } from "../backend/backend.ts";
import { BLOCK } from "../backend/quantize.ts";
import type { Dispatch } from "../backend/webgpu/dispatch-list.ts";
import {
  createPlanDevice,
  DEFAULT_LIMITS,
  type PlanBuffer,
  type PlanLimits,
} from "../backend/webgpu/plan-device.ts";
import { WebGpuBackend } from "../backend/webgpu/webgpu-backend.ts";
import { listLinears, type ModelConfig } from "../model/config.ts";
import { Decoder } from "../model/decoder.ts";
import type { DecoderWeights, LayerWeights, LinearWeights } from "../model/weights.ts";

export interface PlanOptions {
  readonly type: WeightType;
  /** Adapters on all linear layers of the decoder. */
  readonly adapters: number;
  readonly rank: number;
  /** Tokens in the cache before the one that is planned. */
  readonly position: number;
  /** Tokens of the pass. Default 1. */
  readonly tokens?: number;
  /** Positions of the cache. */
  readonly contextLength: number;
  /** Of the device. Default: what every device has. */
  readonly limits?: PlanLimits;
}

export interface TokenPlan {
  /** Of the layer that has most. */
  readonly dispatchesPerLayer: number;
  readonly dispatches: number;
  readonly submissions: number;
  /** Weights, adapters and cache that the dispatches read. */
  readonly bytes: number;
  /** Every weight once, as packed; adapters without padding; the cache once; one row of the embedding. */
  readonly leastBytes: number;
  /** All that is allocated, largest first. */
  readonly buffers: readonly PlanBuffer[];
}

/** Plans one pass: one decoded token, unless told otherwise. */
export async function planToken(config: ModelConfig, options: PlanOptions): Promise<TokenPlan> {
  const { type, position, tokens = 1, limits = DEFAULT_LIMITS } = options;
  const buffers = new Set<PlanBuffer>();
  const device = createPlanDevice(limits, buffers);
  const open = { device, description: "plan", software: false, packedDot: true };
  const backend = new WebGpuBackend(open, { weightless: true });
  const weights = await loadNothing(backend, config, type);
  const banks = loadAdapters(backend, config, options);
  const decoder = new Decoder(backend, config, weights);
  const cache = decoder.createCache(options.contextLength);
  let submissions = 0;
  let dispatches: readonly Dispatch[] = [];
  backend.onSubmit = (list) => {
    if (list.length === 0) return;
    submissions++;
    dispatches = [...list];
  };
  await decoder.forward(new Array(tokens).fill(0), position, cache, banks, "last");
  const adapterBytes = [...banks.values()]
    .flat()
    .reduce((sum, { segment: { rank, rows, cols } }) => {
      return sum + leastMatrixBytes(type, rank, cols) + leastMatrixBytes(type, rows, rank);
    }, 0);
  const { kvHeads, headDim, layers } = config;
  const cacheBytes = 2 * 4 * (position + tokens) * kvHeads * headDim * layers;
  const row = weights.embedding.nBytes / weights.embedding.rows;
  const plan = {
    dispatchesPerLayer: countLayer(dispatches),
    dispatches: dispatches.length,
    submissions,
    bytes: dispatches.reduce((sum, { bytes }) => sum + bytes, 0),
    leastBytes: leastWeightBytes(weights) + adapterBytes + cacheBytes + tokens * row,
    buffers: [...buffers].sort((a, b) => b.size - a.size),
  };
  decoder.dispose();
  await backend.dispose();
  return plan;
}

/** Without padding to whole blocks. */
function leastMatrixBytes(type: WeightType, rows: number, cols: number): number {
  const perNumber = { f32: 4, q8: 1, q4: 0.5 }[type];
  const scales = type === "f32" ? 0 : 4 * Math.ceil(cols / BLOCK);
  return rows * (perNumber * cols + scales);
}

/** Most from one attention to the next. */
function countLayer(dispatches: readonly Dispatch[]): number {
  const marks = dispatches.flatMap(({ shader }, i) => (shader.startsWith("attention ") ? [i] : []));
  return Math.max(...marks.slice(1).map((mark, i) => mark - marks[i]!));
}

/** Matrices that a token meets; the embedding only where it is the head as well. */
function leastWeightBytes(weights: DecoderWeights): number {
  return [...weights.linears.values()].reduce((sum, { matrix }) => sum + matrix.nBytes, 0);
}

async function loadNothing(
  backend: WebGpuBackend,
  config: ModelConfig,
  type: WeightType,
): Promise<DecoderWeights> {
  const matrix = (name: string, rows: number, cols: number): Promise<Matrix> => {
    const read = async (): Promise<Uint8Array> => new Uint8Array();
    const source: MatrixSource = { name, rows, cols, dtype: "F32", read };
    return backend.loadMatrix(source, type);
  };
  const vector = (n: number) => backend.loadVector("norm", new Float32Array(n));
  const { vocabSize, hiddenSize, headDim, qkNorm, outputNorms } = config;
  const embedding = await matrix("embedding", vocabSize, hiddenSize);
  const linears = new Map<string, LinearWeights>();
  for (const info of listLinears(config)) {
    const { path, rows, cols, layer } = info;
    const tied = layer < 0 && config.tieWordEmbeddings;
    const own = tied ? embedding : await matrix(path, rows, cols);
    const source = (): never => {
      throw new Error("a plan has no weights");
    };
    linears.set(path, { info, matrix: own, bias: undefined, source, floats: source });
  }
  const layers = Array.from({ length: config.layers }, (_, layer): LayerWeights => {
    const of = (name: string): LinearWeights => linears.get(`model.layers.${layer}.${name}`)!;
    return {
      attentionNorm: vector(hiddenSize),
      qProj: of("self_attn.q_proj"),
      kProj: of("self_attn.k_proj"),
      vProj: of("self_attn.v_proj"),
      qNorm: qkNorm ? vector(headDim) : undefined,
      kNorm: qkNorm ? vector(headDim) : undefined,
      attentionOutputNorm: outputNorms ? vector(hiddenSize) : undefined,
      mlpOutputNorm: outputNorms ? vector(hiddenSize) : undefined,
      oProj: of("self_attn.o_proj"),
      mlpNorm: vector(hiddenSize),
      gateProj: of("mlp.gate_proj"),
      upProj: of("mlp.up_proj"),
      downProj: of("mlp.down_proj"),
    };
  });
  const norm = vector(hiddenSize);
  const lmHead = linears.get("lm_head")!;
  return { embedding, layers, norm, lmHead, linears, nBytes: 0, free: () => undefined };
}

function loadAdapters(
  backend: WebGpuBackend,
  config: ModelConfig,
  { type, adapters, rank }: PlanOptions,
): Map<string, SoupEntry[]> {
  const banks = new Map<string, SoupEntry[]>();
  for (let i = 0; i < adapters; i++) {
    for (const { path, rows, cols, layer } of listLinears(config)) {
      if (layer < 0) continue;
      const [a, b] = [new Float32Array(rank * cols), new Float32Array(rows * rank)];
      const segment = backend.loadSegment({ name: path, rank, rows, cols, a, b }, type);
      banks.set(path, [...(banks.get(path) ?? []), { segment, m: 1 }]);
    }
  }
  return banks;
}
