// Merge recipes in mergekit's shape: what they mean, layer by layer, and what is refused. And that the command does with one what
// it does with flags.
import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { mergeAdapters } from "../../src/index.ts";
import { listLinears } from "../../src/model/config.ts";
import { evaluateParameter, type Parameters } from "../../src/soup/merge-recipe/parameters.ts";
import { parseMergeRecipe } from "../../src/soup/merge-recipe/parse.ts";
import { kitchenPath } from "../support/kitchen.ts";
import { tinyConfig } from "../support/models.ts";
import { KITCHEN, merge, useScratch } from "./support.ts";

const scratch = useScratch();
const BASE = kitchenPath("base");
const [KNOWLEDGE, FORMAT] = ["knowledge", "format"].map((name) => kitchenPath(`adapters/${name}`));

function recipe(method: string, models: string, rest = ""): string {
  return `merge_method: ${method}\nbase_model: base\nmodels:\n${models}${rest}`;
}

const TWO = `  - model: base+one/math
    parameters: { weight: 0.5 }
  - model: base+code
    parameters: { weight: 1 }
`;

describe("parsing", () => {
  test("reads mergekit's shape", () => {
    const text = recipe(
      "ties",
      `  - model: base
  - model: base+one/math/
    parameters:
      weight: [0, 0.5, 1]
      density:
        - filter: mlp
          value: 0.5
        - value: [0.2, 1]
  - model: base+code
`,
      "parameters: { weight: 1, normalize: true, int8_mask: true }\ndtype: bfloat16\n",
    );
    expect(parseMergeRecipe(text, "r.yaml")).toEqual({
      method: "mergekit:ties",
      base: "base",
      models: [
        {
          source: "one/math/",
          name: "math",
          parameters: new Map<string, unknown>([
            ["weight", [0, 0.5, 1]],
            [
              "density",
              [
                { filter: "mlp", value: 0.5 },
                { filter: undefined, value: [0.2, 1] },
              ],
            ],
          ]),
        },
        { source: "code", name: "code", parameters: new Map() },
      ],
      parameters: new Map<string, unknown>([
        ["weight", 1],
        ["normalize", true],
      ]),
      dtype: "BF16",
    });
  });

  test.each([
    ["ties", "mergekit:ties"],
    ["dare_linear", "mergekit:dare_linear"],
    ["task_arithmetic", "mergekit:task_arithmetic"],
    ["mergekit:della", "mergekit:della"],
    ["peft:ties", "ties"],
    ["peft:linear", "linear"],
    ["peft:cat", "cat"],
    ["cat", "cat"],
    ["svd", "svd"],
    ["ties_svd", "ties_svd"],
  ])("the method %s is %s", (name, method) => {
    expect(parseMergeRecipe(recipe(name, TWO), "r.yaml").method).toBe(method);
  });

  test("mergekit's linear is a weighted mean of whole models", () => {
    const { method, parameters } = parseMergeRecipe(recipe("linear", TWO), "r.yaml");
    expect(method).toBe("mergekit:task_arithmetic");
    expect(parameters.get("normalize")).toBe(true);
  });

  test("without base_model the models say it; equal endings keep their whole paths as names", () => {
    const text = "merge_method: cat\nmodels: [{model: b/+x/lora}, {model: b+y/lora}]\n";
    const { base, models } = parseMergeRecipe(text, "r.yaml");
    expect(base).toBe("b/");
    expect(models.map(({ name }) => name)).toEqual(["x/lora", "y/lora"]);
  });

  test.each<[string, string, string, RegExp]>([
    ["no YAML", "a: [1, 2\n", "SOUP_INVALID", /not YAML: .*line 2.*r\.yaml/],
    ["the same key twice", "models: 1\nmodels: 2\n", "SOUP_INVALID", /not YAML: Map keys must be/],
    ["a list", "- 1\n", "SOUP_INVALID", /expected keys and values, found \[1\]/],
    ["nothing", "", "SOUP_INVALID", /expected keys and values, found null/],
    [
      "a mistyped key",
      "merge_metod: ties\n",
      "SOUP_INVALID",
      /unknown key "merge_metod".*Did you mean merge_method\?/,
    ],
    [
      "a mistyped parameter",
      recipe("ties", "  - { model: base+a, parameters: { wieght: 1 } }\n"),
      "SOUP_INVALID",
      /unknown key "wieght".*models\[0\]\.parameters\)\. Did you mean weight\?/,
    ],
    [
      "a mistyped parameter of the merge",
      recipe("ties", TWO, "parameters: { normalise: true }\n"),
      "SOUP_INVALID",
      /unknown key "normalise".*Did you mean normalize\?/,
    ],
    [
      "a mistyped key of a filter",
      recipe("ties", "  - { model: base+a, parameters: { weight: [{ fitler: x, value: 1 }] } }\n"),
      "SOUP_INVALID",
      /unknown key "fitler": expected filter and value/,
    ],
    [
      "a parameter of the merge, in a model",
      recipe("ties", "  - { model: base+a, parameters: { normalize: true } }\n"),
      "SOUP_INVALID",
      /normalize is a parameter of the whole merge/,
    ],
    [
      "mergekit's slices",
      "merge_method: ties\nslices: []\n",
      "FORMAT_UNSUPPORTED",
      /mergekit's slices is not supported/,
    ],
    [
      "a method that does not exist",
      recipe("tis", TWO),
      "OPTION_INVALID",
      /no merge method "tis".*Nearest: ties/,
    ],
    ["a method of mergekit's for whole models", recipe("slerp", TWO), "OPTION_INVALID", /"slerp"/],
    ["no method", "models: [{ model: base+a }]\n", "SOUP_INVALID", /merge_method/],
    ["no models", "merge_method: cat\nbase_model: base\n", "SOUP_INVALID", /list of models/],
    [
      "only the base",
      recipe("ties", "  - model: base\n"),
      "SOUP_INVALID",
      /expected base\+ADAPTER, found "base"/,
    ],
    [
      "another base",
      recipe("ties", "  - model: other+a\n"),
      "FORMAT_UNSUPPORTED",
      /different bases are not merged: expected base\+ADAPTER, found other\+a/,
    ],
    [
      "two adapters in one",
      recipe("ties", "  - model: base+a+b\n"),
      "SOUP_INVALID",
      /expected base\+adapter/,
    ],
    [
      "an adapter twice",
      recipe("ties", "  - model: base+a\n  - model: base+a\n"),
      "SOUP_INVALID",
      /names an adapter twice/,
    ],
    [
      "the base in a linear merge",
      recipe("linear", "  - model: base\n  - model: base+a\n"),
      "FORMAT_UNSUPPORTED",
      /linear cannot take the base itself/,
    ],
    [
      "linear without normalizing",
      recipe("linear", TWO, "parameters: { normalize: false }\n"),
      "FORMAT_UNSUPPORTED",
      /weighted mean.*task_arithmetic/,
    ],
    ["a type", recipe("ties", TWO, "dtype: int4\n"), "SOUP_INVALID", /float32, float16, bfloat16/],
    [
      "a value",
      recipe("ties", "  - { model: base+a, parameters: { weight: { x: 1 } } }\n"),
      "SOUP_INVALID",
      /value of the merge recipe is invalid.*models\[0\]\.parameters\.weight/,
    ],
    [
      "no finite number",
      recipe("ties", "  - { model: base+a, parameters: { weight: .inf } }\n"),
      "SOUP_INVALID",
      /weight/,
    ],
    [
      "a bomb of aliases",
      `a: &a [x, x, x, x, x, x, x, x, x, x]\n${[..."bcdefgh"]
        .map((name, i) => {
          const before = String.fromCharCode(name.charCodeAt(0) - 1);
          return `${name}: &${name} [${Array(10).fill(`*${before}`).join(", ")}] # ${i}`;
        })
        .join("\n")}\n`,
      "SOUP_INVALID",
      /cannot be read/,
    ],
    ["a file that is too long", `# ${"x".repeat(1 << 20)}`, "SOUP_INVALID", /too long/],
  ])("refuses %s", (_, text, code, message) => {
    expect(() => parseMergeRecipe(text, "r.yaml")).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });
});

describe("parameters, as mergekit evaluates them", () => {
  const linears = listLinears(tinyConfig({ layers: 5 }));
  const find = (path: string) => linears.find((linear) => linear.path.endsWith(path))!;
  const table = (value: unknown): Parameters => new Map([["weight", value as number]]);

  test.each<[string, unknown, string, unknown]>([
    ["a scalar", 0.3, "layers.4.mlp.up_proj", 0.3],
    ["a gradient's first layer", [0, 1], "layers.0.mlp.up_proj", 0],
    ["a gradient's last layer", [0, 1], "layers.4.mlp.up_proj", 1],
    ["between two anchors", [0, 1], "layers.1.mlp.up_proj", 0.25],
    ["of three anchors", [0, 0.5, 2], "layers.3.mlp.up_proj", 1.25],
    ["on an anchor", [0, 0.5, 2], "layers.2.self_attn.q_proj", 0.5],
    ["a single anchor", [0.7], "layers.3.mlp.up_proj", 0.7],
    ["the head, as the last", [0, 1], "lm_head", 1],
    ["the first filter that fits", [{ filter: "mlp", value: 1 }, { value: 2 }], "mlp.up_proj", 1],
    ["no filter", [{ filter: "mlp", value: 1 }, { value: 2 }], "q_proj", 2],
    ["a star", [{ filter: "*", value: [4, 8] }], "layers.4.self_attn.q_proj", 8],
    ["a filter on the whole name", [{ filter: "q_proj.weight", value: 3 }], "q_proj", 3],
    ["nothing that fits", [{ filter: "mlp", value: 1 }], "q_proj", undefined],
  ])("%s", (_, setting, path, expected) => {
    expect(evaluateParameter("weight", [table(setting)], find(path), 5)).toBe(expected);
  });

  test("what a model does not say, the recipe says", () => {
    const own = table([{ filter: "mlp", value: 1 }]);
    const tables = [own, table(0.5)];
    expect(evaluateParameter("weight", tables, find("up_proj"), 5)).toBe(1);
    expect(evaluateParameter("weight", tables, find("q_proj"), 5)).toBe(0.5);
    expect(evaluateParameter("density", tables, find("q_proj"), 5)).toBeUndefined();
  });

  test("a model of one layer is at the end of a gradient", () => {
    expect(evaluateParameter("weight", [table([0, 1])], linears[0]!, 1)).toBe(1);
  });
});

describe("tureen merge RECIPE.yaml", () => {
  function write(name: string, text: string): string {
    const path = scratch.path(name);
    writeFileSync(path, text);
    return path;
  }
  const models = (one: string, two: string): string =>
    `models:\n  - model: ${BASE}+${KNOWLEDGE}\n    parameters: ${one}\n` +
    `  - model: ${BASE}+${FORMAT}\n    parameters: ${two}\n`;

  const DENSITY = "parameters: { density: 0.5 }\n";

  function expectSameFile(one: string, two: string, file: string): void {
    const [a, b] = [one, two].map((folder) => readFileSync(`${scratch.path(folder)}/${file}`));
    expect(a!.equals(b!)).toBe(true);
  }

  test("does what flags do", async () => {
    const text = `merge_method: peft:ties\n${models("{ weight: 1 }", "{ weight: 0.5 }")}parameters: { density: 0.5, majority_sign: frequency }\n`;
    await merge({ out: scratch.path("recipe") }, [write("ties.yaml", text)]);
    const how = { method: "ties", density: "0.5", "majority-sign": "frequency" };
    await merge({ ...KITCHEN, ...how, out: scratch.path("flags") });
    expectSameFile("recipe", "flags", "adapter_model.safetensors");
    expectSameFile("recipe", "flags", "adapter_config.json");
  });

  test("a full model with density and weight of each model; flags add the seed", async () => {
    const text =
      `merge_method: dare_ties\nbase_model: ${BASE}\n` +
      `${models("{ weight: 1, density: 0.5 }", "{ weight: 0.5, density: 0.5 }")}`;
    const path = write("dare.yaml", text);
    await merge({ out: scratch.path("dare"), full: true, seed: "3" }, [path]);
    const how = { method: "mergekit:dare_ties", density: "0.5", seed: "3" };
    await merge({ ...KITCHEN, ...how, out: scratch.path("dare flags"), full: true });
    expectSameFile("dare", "dare flags", "model.safetensors");
  });

  test("weights by layer and by filter are a soup's weights by linear layer", async () => {
    const text =
      `merge_method: cat\ndtype: float32\n` +
      models("{ weight: [0, 1] }", "{ weight: [{ filter: self_attn, value: 2 }, { value: 0 }] }");
    await merge({ out: scratch.path("layers") }, [write("layers.yaml", text)]);
    const linears = Object.fromEntries(
      [0, 1, 2, 3, 4, 5].flatMap((layer) =>
        ["q_proj", "k_proj", "v_proj", "o_proj"].map((name) => [
          `model.layers.${layer}.self_attn.${name}`,
          2,
        ]),
      ),
    );
    await mergeAdapters({
      model: BASE,
      adapters: [
        {
          name: "knowledge",
          source: KNOWLEDGE!,
          weight: { layers: [0, 1 / 5, 2 / 5, 3 / 5, 4 / 5, 1] },
        },
        { name: "format", source: FORMAT!, weight: { default: 0, linears } },
      ],
      method: "cat",
      target: scratch.path("layers flags"),
    });
    expectSameFile("layers", "layers flags", "adapter_config.json");
    expectSameFile("layers", "layers flags", "adapter_model.safetensors");
  });

  test.each<[string, string, RegExp]>([
    [
      "no weight",
      `${models("{}", "{ weight: 1 }")}${DENSITY}`,
      /gives an adapter no weight.*knowledge, model\./,
    ],
    [
      "a weight that is text",
      `${models("{ weight: much }", "{ weight: 1 }")}${DENSITY}`,
      /weight is no number: found "much"/,
    ],
    [
      "a density per adapter, of PEFT's methods",
      models("{ weight: 1, density: 0.5 }", "{ weight: 1 }"),
      /takes no density per adapter/,
    ],
    [
      "a parameter that the method does not use",
      `${models("{ weight: 1 }", "{ weight: 1 }")}parameters: { density: 0.5, gamma: 0.1 }\n`,
      /takes no gamma/,
    ],
    [
      "an option that the method does not use",
      `${models("{ weight: 1 }", "{ weight: 1 }")}parameters: { density: 0.5, normalize: true }\n`,
      /"ties" does not use normalize/,
    ],
  ])("refuses %s", async (what, text, message) => {
    const path = write(`${what}.yaml`, `merge_method: peft:ties\n${text}`);
    await expect(merge({ out: scratch.path(what) }, [path])).rejects.toThrow(message);
  });

  test("refuses flags that the recipe answers, and a recipe that is not there", async () => {
    const out = scratch.path("x");
    const both = merge({ ...KITCHEN, out }, ["r.yaml"]);
    await expect(both).rejects.toThrow(/--model and a recipe: the recipe says what is merged/);
    await expect(merge({ out }, ["r.yaml", "s.yaml"])).rejects.toThrow(/unexpected argument/);
    await expect(merge({ out }, [scratch.path("none.yaml")])).rejects.toMatchObject({
      code: "SOURCE_NOT_FOUND",
    });
  });
});
