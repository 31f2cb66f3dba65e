// What is on the table: the question, the way to blend, and the four answers. Everything that changes them goes through here,
// and the address follows.
import { effect, signal } from "@preact/signals";
import type { RemoteSoup } from "tureen/worker";
import { Answer } from "./answer.ts";
import { expand, uniform } from "./blend.ts";
import { ADAPTERS, type Kitchen, kitchen } from "./kitchen.ts";
import { Latest } from "./latest.ts";
import { readLink, writeLink } from "./link.ts";
import { findPreset } from "./methods.ts";
import { toText } from "./questions.ts";

const FIRST_QUESTION = "What does Daxpel carry?";
/** The adapter that merge methods give. */
const MERGED = "merged";

export const question = signal(readLink(location.hash).question ?? FIRST_QUESTION);
/** A preset's id, or `custom` for weights of one's own. */
export const method = signal("uniform");

export interface MergeResult {
  readonly ms: number;
  readonly relativeError: number;
}
/** Of the method in use, if it is computed; undefined while it is being computed. */
export const merged = signal<MergeResult | undefined>(undefined);
export const tastingProblem = signal<unknown>(undefined);

export const cooks = {
  base: new Answer(),
  knowledge: new Answer(),
  format: new Answer(),
  soup: new Answer(),
} as const;

/** The soup that answers: the live one, or the merged adapter; undefined while it is made. */
export const served = signal<RemoteSoup | undefined>(undefined);
const merging = new Latest();

/** The four answers to the question as it is. */
export async function askAll(): Promise<void> {
  const { model } = kitchen.value!;
  const [knowledge, format] = await Promise.all(ADAPTERS.map((name) => model.soup({ [name]: 1 })));
  await Promise.all([
    ask("base", undefined),
    ask("knowledge", knowledge),
    ask("format", format),
    askSoup(),
  ]);
}

export function askSoup(): Promise<void> {
  return served.value === undefined ? Promise.resolve() : ask("soup", served.value);
}

function ask(cook: keyof typeof cooks, soup: RemoteSoup | undefined): Promise<void> {
  const { model, questions } = kitchen.value!;
  const text = question.value.trim();
  const known = questions.find((candidate) => toText(candidate) === text);
  return cooks[cook].ask(model, text, known, soup);
}

/** Another of the questions that nobody trained on. */
export function drawQuestion(): void {
  const { questions } = kitchen.value!;
  const others = questions.filter((candidate) => toText(candidate) !== question.value);
  question.value = toText(others[Math.floor(Math.random() * others.length)]!);
}

/** Presets begin with their own weights. */
export async function choose(id: string): Promise<void> {
  const { blend, learned } = kitchen.value!;
  method.value = id;
  served.value = undefined;
  await blend.apply(id === "learned" ? JSON.parse(learned).weights : uniform(ADAPTERS));
  await serve();
}

/** After weights were changed by hand. */
export function reweighted(): Promise<void> {
  if (findPreset(method.value)?.merge === undefined) method.value = "custom";
  return serve();
}

/** Makes what answers follow method and weights, and lets it answer. */
async function serve(): Promise<void> {
  const { blend } = kitchen.value!;
  tastingProblem.value = undefined;
  cooks.soup.stop();
  const recipe = findPreset(method.value)?.merge;
  if (recipe !== undefined) return merging.run(() => serveMerged(recipe));
  merging.stop();
  merged.value = undefined;
  served.value = blend.soup;
  await blend.time(); // while the worker has nothing else to do
  await askSoup();
}

async function serveMerged(recipe: { readonly method: string }): Promise<void> {
  const { model, blend } = kitchen.value!;
  merged.value = undefined;
  served.value = undefined;
  try {
    if ((await model.adapters).some(({ name }) => name === MERGED)) {
      await model.unloadAdapter(MERGED);
    }
    const start = performance.now();
    const spec = { ...recipe, weights: blend.toWeights() };
    const { relativeError } = await model.merge(spec, { name: MERGED });
    merged.value = { ms: performance.now() - start, relativeError };
    served.value = await model.soup({ [MERGED]: 1 });
    await askSoup();
  } catch (error) {
    tastingProblem.value = error;
  }
}

/** Once the kitchen is open: what the address says, then everybody answers. */
export async function beginTasting({ blend, learned }: Kitchen): Promise<void> {
  const link = readLink(location.hash);
  const wanted = link.method ?? "uniform";
  method.value = wanted === "custom" || findPreset(wanted) !== undefined ? wanted : "uniform";
  if (link.weights !== undefined) {
    for (const info of blend.adapters.value) {
      const given = link.weights[info.name] ?? 1;
      const fits = typeof given === "number" || given.length === info.linears.length;
      const table = fits ? given : 1;
      const linears = (list: Float32Array) =>
        Object.fromEntries(info.linears.map((path, i) => [path, list[i]!]));
      const weight = typeof table === "number" ? table : { linears: linears(table) };
      blend.weights.value = { ...blend.weights.value, [info.name]: expand(info, weight) };
    }
    await blend.apply(blend.toWeights());
  } else if (method.value === "learned") {
    await blend.apply(JSON.parse(learned).weights);
  }
  served.value = blend.soup;
  await askAll();
  await serve();
  effect(() => {
    // The learned weights are known by name.
    const weights = method.value === "learned" ? {} : blend.weights.value;
    scheduleLink(writeLink(question.value, method.value, weights));
  });
}

let timer: ReturnType<typeof setTimeout> | undefined;

/** Browsers limit how often an address may change: drags would exceed it. */
function scheduleLink(state: string): void {
  clearTimeout(timer);
  timer = setTimeout(() => history.replaceState(null, "", state), 250);
}
