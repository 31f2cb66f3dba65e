// What a run wrote down, and how to look it up.

/** One metric of one contender in one case, a value per round. */
export interface Row {
  readonly section: string;
  readonly contender: string;
  readonly metric: string;
  readonly values: readonly number[];
  readonly type?: string;
  readonly threads?: number;
  readonly adapters?: number;
  readonly kernel?: string;
  readonly tokens?: number;
}

export interface Results {
  readonly date: string;
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly node: string;
    readonly platform: string;
  };
  readonly options: {
    readonly shape: string;
    readonly rounds: number;
    readonly quick: boolean;
    /** Weights of the linear layers, without the head: a token takes a product and a sum with each. */
    readonly linearWeights: number;
  };
  readonly about: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly failures: readonly {
    readonly contender: string;
    readonly where: string;
    readonly reason: string;
  }[];
  readonly rows: readonly Row[];
}

/** The values of the one row that has all of this; `undefined` if it was not measured. */
export function find(results: Results, wanted: Partial<Row>): readonly number[] | undefined {
  const names = Object.keys(wanted) as (keyof Row)[];
  return results.rows.find((row) => names.every((name) => row[name] === wanted[name]))?.values;
}

/** Every row that has all of this. */
export function filter(results: Results, wanted: Partial<Row>): Row[] {
  const names = Object.keys(wanted) as (keyof Row)[];
  return results.rows.filter((row) => names.every((name) => row[name] === wanted[name]));
}
