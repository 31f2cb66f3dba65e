// The public surface, by hand: what is not listed here is not part of the library.
export type { AdapterInfo, BackendInfo, ModelInfo } from "./api/describe.ts";
export {
  type GeneratedText,
  type GenerateTextOptions,
  Generation,
  type GenerationTimings,
} from "./api/generation.ts";
export type { LoadAdapterOptions } from "./api/load-adapter.ts";
export { type LoadModelOptions, loadModel } from "./api/load-model.ts";
export type { LoadProgress } from "./api/load-progress.ts";
export {
  type AdapterToMerge,
  type MergeAdaptersOptions,
  type MergedAdapterInfo,
  mergeAdapters,
} from "./api/merge.ts";
export type { LogitsOptions, Model } from "./api/model.ts";
export { findSourceKind, type SourceKind, type SourceKindOptions } from "./api/source-kind.ts";
export type { Prompt } from "./api/text-tools.ts";
export type { WeightType } from "./backend/backend.ts";
export type { RopeScaling } from "./backend/rope-frequencies.ts";
export { type ErrorCode, type ErrorDetails, TureenError } from "./errors.ts";
export type { FinishReason, GenerationChunk } from "./generate/generate.ts";
export type { GenerateOptions, SamplingOptions, SpeculationOptions } from "./generate/options.ts";
export type { SampledToken, TokenLogprob } from "./generate/sampler.ts";
export type { Session } from "./generate/session.ts";
export type { LearningDataSet, LearningExample } from "./learn/data.ts";
export type { LearnedSoup, LearningProgress, LearnSoupOptions } from "./learn/learn-soup.ts";
export type { HyperParameters } from "./learn/options.ts";
export type { Granularity, Parametrization } from "./learn/parameters.ts";
export type { Evaluation, LearningState } from "./learn/state.ts";
export type { StopReason } from "./learn/train.ts";
export type { ChatMessage } from "./model/chat-template.ts";
export type { ModelConfig } from "./model/config.ts";
export type { DecodeOptions, EncodeOptions, StreamDecoder, Tokenizer } from "./model/tokenizer.ts";
export type { FoldModelOptions } from "./soup/fold-model.ts";
export type { AdapterIdentity, BaseIdentity } from "./soup/identity.ts";
export type { LoadSoupOptions } from "./soup/load-recipe.ts";
export type { MergeSpec } from "./soup/merge/plan-soup.ts";
export type { MergeReport } from "./soup/merge/write-adapter.ts";
export type { MergeMethod, MergeOption, MergeOptions } from "./soup/methods/method.ts";
export { MERGE_METHODS } from "./soup/methods/methods.ts";
export { parseRecipe, type SoupRecipe, serializeRecipe } from "./soup/recipe.ts";
export type { Soup } from "./soup/soup.ts";
export type { SoupWeight, SoupWeights } from "./soup/weights.ts";
export type {
  CachedRepo,
  CachedRevision,
  CacheTrim,
  HubCache,
  PartialBlob,
  StreamingHash,
} from "./sources/cache/cache.ts";
export type { Piece, PieceStore } from "./sources/cache/key-store.ts";
export { type HubCacheOptions, openHubCache } from "./sources/cache/open-cache.ts";
export type { HubOptions, Warning } from "./sources/hub-options.ts";
export type { FileContent, FileSetInput } from "./sources/open.ts";
export type { FolderHandle, PickedFile } from "./sources/picked.ts";
export { createMemorySink, type FileSink, type MemorySink } from "./sources/sink.ts";
export type {
  ByteSource,
  FileOrigin,
  FileSet,
  OpenFileOptions,
  ReadOptions,
} from "./sources/source.ts";
