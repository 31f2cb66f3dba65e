// A conversation: streaming, stop, and under each answer the soup it was written by.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { SoupWeights } from "tureen";
import type { Blend } from "../engine/blend.ts";
import type { Chat, Turn } from "../engine/chat.ts";
import { formatRate, formatWeight } from "../engine/format.ts";
import { Problem } from "./problem.tsx";

interface Props {
  readonly chat: Chat;
  readonly blend: Blend;
}

export function ChatPanel({ chat, blend }: Props) {
  const text = useSignal("");
  const temperature = useSignal(0.7);
  const maxTokens = useSignal(200);
  const list = useRef<HTMLOListElement>(null);
  const turns = chat.turns.value;
  const isWriting = chat.isWriting.value;
  useEffect(() => {
    list.current?.scrollTo(0, list.current.scrollHeight);
  }, [turns]);

  const send = (event: Event) => {
    event.preventDefault();
    const said = text.value;
    if (said.trim() === "" || isWriting) return;
    text.value = "";
    void chat.send(said, {
      weights: blend.toWeights(),
      temperature: temperature.value,
      maxTokens: maxTokens.value,
    });
  };

  return (
    <div class="chat">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scroll region has to be reachable */}
      <ol class="turns" ref={list} tabIndex={0} aria-label="Conversation" aria-live="off">
        {turns.length === 0 && (
          <li class="note">
            {chat.hasTemplate
              ? "Say something."
              : "This model has no chat template: it continues your text."}
          </li>
        )}
        {turns.map((turn, i) => (
          <li key={i} data-role={turn.role}>
            <p>{turn.text.trimStart() || "…"}</p>
            {turn.weights !== undefined && <Footnote turn={turn} weights={turn.weights} />}
          </li>
        ))}
      </ol>
      <Problem error={chat.problem.value} />
      <form class="compose" onSubmit={send}>
        <label for="chat-text" class="visually-hidden">
          Message
        </label>
        <textarea
          id="chat-text"
          rows={2}
          placeholder={chat.hasTemplate ? "Message" : "Text to continue"}
          value={text.value}
          onInput={(event) => {
            text.value = event.currentTarget.value;
          }}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey) send(event);
          }}
        />
        {isWriting ? (
          <button type="button" onClick={() => chat.stop()}>
            Stop
          </button>
        ) : (
          <button type="submit" class="primary">
            Send
          </button>
        )}
      </form>
      <div class="row">
        <Setting
          id="chat-temperature"
          label="Temperature"
          min={0}
          max={2}
          step={0.1}
          setting={temperature}
        />
        <Setting
          id="chat-tokens"
          label="Tokens at most"
          min={1}
          max={2000}
          step={1}
          setting={maxTokens}
        />
        <button type="button" class="small" disabled={isWriting} onClick={() => chat.clear()}>
          Clear
        </button>
      </div>
    </div>
  );
}

function Footnote({ turn, weights }: { readonly turn: Turn; readonly weights: SoupWeights }) {
  const soup = Object.entries(weights).map(([name, weight]) => {
    return `${name} ${typeof weight === "number" ? formatWeight(weight) : "by layer"}`;
  });
  const { timings, ended } = turn;
  const rate =
    timings &&
    `reads ${formatRate(timings.prefillTokensPerSecond)}, writes ${formatRate(timings.decodeTokensPerSecond)} tokens/s`;
  const end = ended === "abort" ? "stopped" : ended === "length" ? "cut at the limit" : undefined;
  const parts = [soup.length === 0 ? "base alone" : soup.join(", "), rate, end];
  return <p class="note">{parts.filter(Boolean).join(" · ")}</p>;
}

interface SettingProps {
  readonly id: string;
  readonly label: string;
  readonly min: number;
  readonly max: number;
  readonly step: number;
  readonly setting: { value: number };
}

function Setting({ id, label, min, max, step, setting }: SettingProps) {
  return (
    <span class="setting">
      <label for={id}>{label}</label>
      <input
        id={id}
        type="number"
        min={min}
        max={max}
        step={step}
        value={setting.value}
        onChange={(event) => {
          const value = event.currentTarget.valueAsNumber;
          if (value >= min && value <= max) setting.value = value;
        }}
      />
    </span>
  );
}
