// Qwen3, SmolLM3 and Gemma 3 once more, after transformers' modeling_qwen3.py, modeling_smollm3.py, modeling_gemma3.py and PEFT's LoRA, in f64 and in as many loops
// as it takes. Shares nothing with the engine, so that a misunderstanding cannot be in both.

/** By transformers' and PEFT's names, row-major. */
export type PlainTensors = ReadonlyMap<string, { readonly values: ArrayLike<number> }>;

export interface PlainAdapter {
  /** `base_model.model.…` */
  readonly tensors: PlainTensors;
  readonly rank: number;
  /** Linear layer → soup weight × alpha / rank */
  readonly factor: (path: string) => number;
}

export interface PlainShape {
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  /** As in Qwen3. */
  readonly qkNorm: boolean;
  /** As in SmolLM3. */
  readonly noRopeLayers: readonly number[];
  /** `undefined` for other models than Gemma 3. Layers other than `fullLayers` are sliding. */
  readonly gemma3?:
    | {
        /** `query_pre_attn_scalar` */
        readonly scalar: number;
        readonly window: number;
        readonly localTheta: number;
        /** Of full layers' positions. */
        readonly factor: number;
        readonly fullLayers: readonly number[];
      }
    | undefined;
}

/**
 * Logits of every position.
 * @param round applied to whatever is stored: `Math.fround` shows what f32 costs. Default: nothing
 */
export function plainDecoder(
  tensors: PlainTensors,
  shape: PlainShape,
  adapters: readonly PlainAdapter[],
  ids: readonly number[],
  round: (x: number) => number = (x) => x,
): number[][] {
  const { hiddenSize, layers, heads, kvHeads, headDim, rmsNormEps, ropeTheta, gemma3 } = shape;
  const of = (name: string): ArrayLike<number> => tensors.get(name)!.values;

  const multiply = (matrix: ArrayLike<number>, x: readonly number[]): number[] =>
    Array.from({ length: matrix.length / x.length }, (_, row) => {
      let sum = 0;
      for (let c = 0; c < x.length; c++) sum = round(sum + matrix[row * x.length + c]! * x[c]!);
      return sum;
    });

  const linear = (path: string, x: readonly number[]): number[] => {
    const isTied = path === "lm_head" && !tensors.has("lm_head.weight");
    let y = multiply(of(isTied ? "model.embed_tokens.weight" : `${path}.weight`), x);
    for (const adapter of adapters) {
      const name = `base_model.model.${path}`;
      const a = adapter.tensors.get(`${name}.lora_A.weight`)!.values;
      const b = adapter.tensors.get(`${name}.lora_B.weight`)!.values;
      const delta = multiply(b, multiply(a, x));
      y = y.map((value, i) => round(value + adapter.factor(path) * delta[i]!));
    }
    return y;
  };

  const norm = (name: string, x: readonly number[]): number[] => {
    const squares = x.reduce((sum, value) => round(sum + value * value), 0);
    const scale = round(1 / Math.sqrt(squares / x.length + rmsNormEps));
    return x.map((value, i) => {
      const weight = of(name)[i]!;
      return round(round(value * scale) * (gemma3 ? round(1 + weight) : weight));
    });
  };

  const rotate = (head: readonly number[], place: number, slides: boolean): number[] => {
    const theta = slides ? gemma3!.localTheta : ropeTheta;
    const position = slides ? place : place / (gemma3?.factor ?? 1);
    const half = headDim / 2;
    return head.map((value, i) => {
      const angle = position / theta ** ((2 * (i % half)) / headDim);
      const turned = i < half ? -head[i + half]! : head[i - half]!;
      return round(value * round(Math.cos(angle)) + turned * round(Math.sin(angle)));
    });
  };

  const headsOf = (x: readonly number[]): number[][] =>
    Array.from({ length: x.length / headDim }, (_, h) => x.slice(h * headDim, (h + 1) * headDim));

  const dot = (x: readonly number[], y: readonly number[]): number =>
    x.reduce((sum, value, i) => round(sum + value * y[i]!), 0);

  let stream = ids.map((id) =>
    Array.from({ length: hiddenSize }, (_, c) => {
      const value = of("model.embed_tokens.weight")[id * hiddenSize + c]!;
      return gemma3 ? round(value * round(Math.sqrt(hiddenSize))) : value;
    }),
  );
  for (let layer = 0; layer < layers; layer++) {
    const at = `model.layers.${layer}`;
    const slides = gemma3 !== undefined && !gemma3.fullLayers.includes(layer);
    const divisor = Math.sqrt(gemma3?.scalar ?? headDim);
    const normed = stream.map((x) => norm(`${at}.input_layernorm.weight`, x));
    const turned = (which: "q" | "k"): number[][][] =>
      normed.map((x, position) =>
        headsOf(linear(`${at}.self_attn.${which}_proj`, x)).map((head) => {
          const name = `${at}.self_attn.${which}_norm.weight`;
          const own = shape.qkNorm ? norm(name, head) : head;
          return shape.noRopeLayers.includes(layer) ? own : rotate(own, position, slides);
        }),
      );
    const [q, k] = [turned("q"), turned("k")];
    const v = normed.map((x) => headsOf(linear(`${at}.self_attn.v_proj`, x)));
    stream = stream.map((x, position) => {
      const attended = q[position]!.flatMap((head, h) => {
        const kv = Math.floor(h / (heads / kvHeads));
        const first = slides ? Math.max(0, position - gemma3.window + 1) : 0;
        const scores = k
          .slice(first, position + 1)
          .map((keys) => round(dot(head, keys[kv]!) / divisor));
        const most = Math.max(...scores);
        const powers = scores.map((score) => round(Math.exp(score - most)));
        const total = powers.reduce((sum, power) => round(sum + power), 0);
        return head.map((_, i) =>
          powers.reduce(
            (sum, power, t) => round(sum + (power / total) * v[first + t]![kv]![i]!),
            0,
          ),
        );
      });
      const result = linear(`${at}.self_attn.o_proj`, attended);
      const out = gemma3 ? norm(`${at}.post_attention_layernorm.weight`, result) : result;
      return x.map((value, i) => round(value + out[i]!));
    });
    stream = stream.map((x) => {
      const before = gemma3 ? "pre_feedforward" : "post_attention";
      const input = norm(`${at}.${before}_layernorm.weight`, x);
      const gate = linear(`${at}.mlp.gate_proj`, input);
      const up = linear(`${at}.mlp.up_proj`, input);
      const inner = gate.map((z, i) => {
        const u = Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3);
        const activated = gemma3 ? 0.5 * z * (1 + Math.tanh(u)) : z / (1 + Math.exp(-z));
        return round(activated * up[i]!);
      });
      const result = linear(`${at}.mlp.down_proj`, inner);
      const out = gemma3 ? norm(`${at}.post_feedforward_layernorm.weight`, result) : result;
      return x.map((value, i) => round(value + out[i]!));
    });
  }
  return stream.map((x) => linear("lm_head", norm("model.norm.weight", x)));
}
