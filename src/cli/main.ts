#!/usr/bin/env node
// The `tureen` command: finds the subcommand, parses its flags, and turns every error into one line and an exit code.
import { type ParseArgsConfig, parseArgs } from "node:util";
import { TureenError } from "../errors.ts";
import { nearestNames } from "../soup/nearest-names.ts";
import { benchCommand } from "./bench.ts";
import { cacheCommand } from "./cache.ts";
import { chatCommand } from "./chat.ts";
import type { Command } from "./command.ts";
import { compareCommand } from "./compare.ts";
import { foldCommand } from "./fold.ts";
import { generateCommand } from "./generate.ts";
import { inspectCommand } from "./inspect.ts";
import { kitchenCommand } from "./kitchen.ts";
import { learnCommand } from "./learn.ts";
import { logitsCommand } from "./logits.ts";
import { mergeCommand } from "./merge.ts";
import { note, print } from "./output.ts";
import { type Flags, UsageError } from "./usage.ts";

const COMMANDS: readonly Command[] = [
  generateCommand,
  chatCommand,
  inspectCommand,
  learnCommand,
  mergeCommand,
  foldCommand,
  compareCommand,
  logitsCommand,
  benchCommand,
  kitchenCommand,
  cacheCommand,
];

const HELP = `tureen: serve LoRA soups

Usage: tureen COMMAND [options]

${COMMANDS.map(({ name, summary }) => `  ${name.padEnd(10)} ${summary}`).join("\n")}

tureen COMMAND --help tells more.`;

async function main(args: readonly string[]): Promise<void> {
  const [name, ...rest] = args;
  if (name === undefined) throw new UsageError(`a command is missing\n\n${HELP}`);
  if (name === "--help" || name === "-h" || name === "help") return print(HELP);
  if (name === "--version" || name === "-v") return print(await readVersion());
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (command === undefined) {
    const [nearest] = nearestNames(
      name,
      COMMANDS.map((candidate) => candidate.name),
    );
    throw new UsageError(`unknown command "${name}"; did you mean ${nearest}?`);
  }
  const { flags, positionals } = parse(command, rest);
  if (flags.help === true) return print(`tureen ${name}: ${command.summary}\n\n${command.help}`);
  await command.run(flags, positionals);
}

function parse(
  command: Command,
  args: readonly string[],
): { flags: Flags; positionals: readonly string[] } {
  const options: ParseArgsConfig["options"] = {
    ...command.flags,
    help: { type: "boolean", short: "h" },
  };
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    if (command.takesArguments !== true && positionals.length > 0) {
      throw new UsageError(`unexpected argument "${positionals[0]}"`);
    }
    return { flags: values as Flags, positionals };
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new UsageError(message.replace(/\s*\n\s*/g, " "));
  }
}

async function readVersion(): Promise<string> {
  const { readFile } = await import("node:fs/promises");
  const text = await readFile(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

/** 2: the command line cannot be understood. 1: everything else. */
function report(error: unknown): number {
  if (error instanceof UsageError) {
    note(`tureen: ${error.message}`);
    return 2;
  }
  const known = error instanceof TureenError;
  const message = error instanceof Error ? error.message : String(error);
  note(`tureen: ${known ? `${error.code}: ` : ""}${message.replace(/\s*\n\s*/g, " ")}`);
  if (process.env.TUREEN_DEBUG !== undefined && error instanceof Error) note(error.stack ?? "");
  return 1;
}

// A reader such as `head` may leave before the end; that is no failure of ours.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = report(error);
}
