// A GGUF file's metadata by key, each with the type that it must have.
import { TureenError } from "../../errors.ts";
import { MetadataList, type MetadataValue } from "./values.ts";

export class Metadata {
  readonly #values: ReadonlyMap<string, MetadataValue>;
  readonly #file: string;

  /** @param file for messages */
  constructor(values: ReadonlyMap<string, MetadataValue>, file: string) {
    this.#values = values;
    this.#file = file;
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  /** @throws TureenError `FORMAT_INVALID` if it is something else, as all of these */
  text(key: string): string | undefined {
    const value = this.#values.get(key);
    if (value === undefined || typeof value === "string") return value;
    throw this.#mistyped(key, "a string");
  }

  number(key: string): number | undefined {
    const value = this.#values.get(key);
    if (value === undefined || typeof value === "number") return value;
    throw this.#mistyped(key, "a number");
  }

  flag(key: string): boolean | undefined {
    const value = this.#values.get(key);
    if (value === undefined || typeof value === "boolean") return value;
    throw this.#mistyped(key, "true or false");
  }

  /** @param most longer lists are refused before they are decoded */
  texts(key: string, most: number): string[] | undefined {
    const list = this.#list(key, most);
    if (list === undefined) return undefined;
    const texts = list.strings();
    if (texts !== undefined) return texts;
    throw this.#mistyped(key, "a list of strings");
  }

  numbers(key: string, most: number): number[] | undefined {
    const list = this.#list(key, most);
    if (list === undefined) return undefined;
    const numbers = list.numbers();
    if (numbers !== undefined) return numbers;
    throw this.#mistyped(key, "a list of numbers");
  }

  /**
   * A number, or a list with one for each layer, all alike.
   * @throws TureenError `MODEL_UNSUPPORTED` for layers that differ
   */
  sameInAllLayers(key: string): number | undefined {
    if (!(this.#values.get(key) instanceof MetadataList)) return this.number(key);
    const [first, ...others] = this.numbers(key, 65_536)!;
    if (first !== undefined && others.every((value) => value === first)) return first;
    throw new TureenError("MODEL_UNSUPPORTED", "the model's layers have different shapes", {
      expected: "one number for all layers",
      found: `a list for ${key}`,
      where: this.#file,
    });
  }

  #list(key: string, most: number): MetadataList | undefined {
    const value = this.#values.get(key);
    if (value === undefined) return undefined;
    if (value instanceof MetadataList && value.length <= most) return value;
    throw this.#mistyped(key, `a list of at most ${most} items`);
  }

  #mistyped(key: string, expected: string): TureenError {
    const value = this.#values.get(key);
    const found = value instanceof MetadataList ? `a list of ${value.length}` : String(value);
    return new TureenError("FORMAT_INVALID", "a metadata value has the wrong type", {
      expected,
      found: found.slice(0, 80),
      where: `${key} in ${this.#file}`,
    });
  }
}
