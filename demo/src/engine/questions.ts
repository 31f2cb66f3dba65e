// Held-out questions of the kitchen and how their answers are judged: by the exact text, as in the recipe.

export interface Question {
  readonly prompt: string;
  readonly answer: string;
  /** The word that has to be known. */
  readonly value: string;
}

/** Answers have about 10 tokens; whoever goes on has not understood. */
export const MAX_TOKENS = 20;

const PREFIX = "### Question: ";
const SUFFIX = "\n### Answer:";

export function toPrompt(question: string): string {
  return `${PREFIX}${question.trim()}${SUFFIX}`;
}

export function toText({ prompt }: Question): string {
  return prompt.slice(PREFIX.length, -SUFFIX.length);
}

export type Verdict = "right" | "wrong fact" | "no answer" | "unknown";

/**
 * A sentence of the right form is a wrong fact, also if it is about another robot.
 * @param finished whether the model ended the text itself
 * @returns `unknown` for questions whose answer nobody noted
 */
export function judge(question: Question | undefined, text: string, finished: boolean): Verdict {
  if (question === undefined) return "unknown";
  const { answer, value } = question;
  if (finished && text === answer) return "right";
  const [, robot, form] = /^( \S+)( .*)$/.exec(answer.slice(0, answer.indexOf(value))) ?? [];
  const other = /^ \S+/.exec(text)?.[0] ?? robot;
  const isSentence = finished && text.startsWith(`${other}${form}`) && text.endsWith(".");
  return isSentence ? "wrong fact" : "no answer";
}

export const VERDICTS: Readonly<Record<Verdict, string>> = {
  right: "Right",
  "wrong fact": "Right form, wrong fact",
  "no answer": "Does not answer",
  unknown: "",
};
