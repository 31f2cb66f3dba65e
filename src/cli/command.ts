// What a command is to the dispatcher.
import type { ParseArgsConfig } from "node:util";
import type { Flags } from "./usage.ts";

export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Text of `tureen NAME --help`, without the name and summary. */
  readonly help: string;
  /** Whether it takes arguments besides flags. */
  readonly takesArguments?: boolean;
  readonly flags: NonNullable<ParseArgsConfig["options"]>;
  run(flags: Flags, positionals: readonly string[]): Promise<void>;
}
