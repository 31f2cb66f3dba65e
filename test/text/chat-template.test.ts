import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { TureenError } from "../../src/errors.ts";
import { type ChatContext, renderChat } from "../../src/model/chat-template.ts";
import { findChatTemplate } from "../../src/model/find-chat-template.ts";
import { describeWithSharedData, sharedData } from "../support/shared.ts";
import { readJsonFile } from "./tokenizer-fixtures.ts";

const messages = [
  { role: "system", content: "Be brief." },
  { role: "user", content: "Hi!" },
  { role: "assistant", content: "Hello." },
  { role: "user", content: "Bye?" },
];
const context: ChatContext = {
  bosToken: "<s>",
  eosToken: "</s>",
  addGenerationPrompt: true,
  now: new Date(2026, 2, 5, 15, 4),
};

describeWithSharedData("real chat templates", () => {
  const render = (name: string, changes: Partial<ChatContext> = {}): string =>
    renderChat(readFileSync(sharedData("chat-templates", `${name}.jinja`), "utf8"), messages, {
      ...context,
      ...changes,
    });

  it("Llama 3.2, with its date in English on every host", () => {
    expect(render("meta-llama-Llama-3.2-3B-Instruct")).toMatchInlineSnapshot(`
      "<s><|start_header_id|>system<|end_header_id|>

      Cutting Knowledge Date: December 2023
      Today Date: 05 Mar 2026

      Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>

      Hi!<|eot_id|><|start_header_id|>assistant<|end_header_id|>

      Hello.<|eot_id|><|start_header_id|>user<|end_header_id|>

      Bye?<|eot_id|><|start_header_id|>assistant<|end_header_id|>

      "
    `);
  });

  it("Llama 3.1 and 3.3, with a date given as a variable", () => {
    for (const name of ["meta-llama-Llama-3.1-8B-Instruct", "meta-llama-Llama-3.3-70B-Instruct"]) {
      const text = render(name, { variables: { date_string: "01 Jan 2025" } });
      expect(text).toContain("Today Date: 01 Jan 2025\n\nBe brief.<|eot_id|>");
      expect(text.endsWith("<|start_header_id|>assistant<|end_header_id|>\n\n")).toBe(true);
    }
  });

  it("Qwen2.5", () => {
    expect(render("Qwen-Qwen2.5-7B-Instruct")).toMatchInlineSnapshot(`
      "<|im_start|>system
      Be brief.<|im_end|>
      <|im_start|>user
      Hi!<|im_end|>
      <|im_start|>assistant
      Hello.<|im_end|>
      <|im_start|>user
      Bye?<|im_end|>
      <|im_start|>assistant
      "
    `);
  });

  it("Mistral Nemo", () => {
    expect(render("mistralai-Mistral-Nemo-Instruct-2407")).toMatchInlineSnapshot(`
      "<s>[INST]Hi![/INST]Hello.</s>[INST]Be brief.

      Bye?[/INST]"
    `);
  });

  it("DeepSeek R1 Distill Llama", () => {
    expect(render("deepseek-ai-DeepSeek-R1-Distill-Llama-8B")).toMatchInlineSnapshot(`
      "<s>Be brief.<｜User｜>Hi!<｜Assistant｜>Hello.<｜end▁of▁sentence｜><｜User｜>Bye?<｜Assistant｜><think>
      "
    `);
  });

  it("Qwen2, without the beginning of an answer", () => {
    const config = readJsonFile(sharedData("tokenizers/qwen2/tokenizer_config.json"));
    const template = findChatTemplate(config, undefined, "tokenizer_config.json");
    expect(
      renderChat(template, messages.slice(0, 3), { addGenerationPrompt: false }),
    ).toMatchInlineSnapshot(`
      "<|im_start|>system
      Be brief.<|im_end|>
      <|im_start|>user
      Hi!<|im_end|>
      <|im_start|>assistant
      Hello.<|im_end|>
      "
    `);
  });

  it("tells what a template refuses", () => {
    expect(() => render("google-gemma-2-2b-it")).toThrowErrorMatchingInlineSnapshot(
      `[TureenError: the chat template refuses the messages: found "System role not supported"]`,
    );
  });

  it("names the variables that a template looks for in vain", () => {
    expect(() => render("fireworks-ai-llama-3-firefunction-v2")).toThrowErrorMatchingInlineSnapshot(
      `[TureenError: the chat template failed: Cannot perform operation + on undefined values. It may need more variables than a plain chat has, such as tools. It asks for functions.]`,
    );
  });

  it("every template renders or gives a typed error of one line", () => {
    const names = readdirSync(sharedData("chat-templates"));
    expect(names.length).toBeGreaterThan(10);
    const failed: string[] = [];
    for (const name of names) {
      try {
        expect(render(name.replace(/\.jinja$/, ""))).toContain("Bye?");
      } catch (error) {
        if (!(error instanceof TureenError)) throw error;
        expect(error.message).not.toContain("\n");
        failed.push(name);
      }
    }
    // As in Jinja2 with transformers' variables: three iterate over tools, one needs `functions`, Gemma refuses system messages.
    // Not so in Jinja2: functionary v3.1 filters null tools and never uses them, which @huggingface/jinja does at once.
    expect(failed).toMatchInlineSnapshot(`
      [
        "CohereForAI-c4ai-command-r-plus-tool_use.jinja",
        "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja",
        "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja",
        "fireworks-ai-llama-3-firefunction-v2.jinja",
        "google-gemma-2-2b-it.jinja",
        "meetkai-functionary-medium-v3.1.jinja",
      ]
    `);
  });
});

describe("renderChat", () => {
  const refuse = (template: string | undefined, list: unknown = messages): TureenError => {
    try {
      renderChat(template, list as typeof messages, context);
    } catch (error) {
      if (error instanceof TureenError) return error;
      throw error;
    }
    throw new Error("nothing was thrown");
  };

  it("gives transformers' variables", () => {
    const template =
      "{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }} {{ tools is none }} " +
      "{% for i in range(3) %}{{ i }}{% endfor %} {{ strftime_now('%A %d %B %y, %I:%M %p %%') }}";
    expect(renderChat(template, messages, context)).toBe(
      "<s></s>true true 012 Thursday 05 March 26, 03:04 PM %",
    );
  });

  it("trims blocks as transformers does", () => {
    const template =
      "{% for m in messages %}\n    {% if true %}\n{{ m.role }}\n    {% endif %}\n{% endfor %}";
    expect(renderChat(template, messages.slice(0, 2), context)).toBe("system\nuser\n");
  });

  it("does not let a template change the caller's messages", () => {
    const template = "{% set messages = messages[1:] %}{{ messages | length }}";
    expect(renderChat(template, messages, context)).toBe("3");
    expect(messages).toHaveLength(4);
  });

  const cases: [string, TureenError, string, RegExp][] = [
    [
      "no template",
      refuse(undefined),
      "OPTION_INVALID",
      /no chat template.*Give the prompt as a string/,
    ],
    ["broken Jinja", refuse("{% if %}"), "TOKENIZER_INVALID", /not valid Jinja/],
    [
      "an endless range",
      refuse("{% for i in range(10**9) %}x{% endfor %}"),
      "TOKENIZER_INVALID",
      /range\(\) of/,
    ],
    ["no messages", refuse("", []), "OPTION_INVALID", /at least one message, found none/],
    ["no list", refuse("", "Hi!"), "OPTION_INVALID", /found string/],
    ["no role", refuse("", [{ content: "a" }]), "OPTION_INVALID", /message 0, role/],
    [
      "content in parts",
      refuse("", [{ role: "user", content: [] }]),
      "OPTION_INVALID",
      /message 0, content/,
    ],
    ["a null message", refuse("", [null]), "OPTION_INVALID", /message 0, role/],
  ];
  it.each(cases)("refuses %s", (_, error, code, text) => {
    expect(error.code).toBe(code);
    expect(error.message).toMatch(text);
  });
});

describe("findChatTemplate", () => {
  const find = (config: unknown, file?: string): string | undefined =>
    findChatTemplate(config, file, "tokenizer_config.json");

  it("takes a string, the default of a list, or the file before both", () => {
    const list = [
      { name: "tool_use", template: "T" },
      { name: "default", template: "D" },
    ];
    expect(find({ chat_template: "S" })).toBe("S");
    expect(find({ chat_template: list })).toBe("D");
    expect(find({ chat_template: "S" }, "F")).toBe("F");
    expect(find({})).toBeUndefined();
    expect(find(undefined)).toBeUndefined();
  });

  it.each([[7], [[{ name: "tool_use", template: "T" }]], [[null]], [{}]])(
    "refuses %j",
    (chat_template) => {
      expect(() => find({ chat_template })).toThrow(/chat_template is invalid/);
    },
  );
});
