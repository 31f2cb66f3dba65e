// Records the products of banks beside a call of `linear`: which segments take part in which rows, and where their h lies.
//
// Where m is given per row, all rows go together as long as every segment takes part in all rows or none, as blends of the same
// adapters do. Otherwise the rows fall into *groups* in which every segment has one m, and a group goes through the bank as a
// call of its own would. Either way a row gets the bits that it gets alone.
import type { BankEntry, LinearOutput, Tensor, WeightType } from "../backend.ts";
import type { Arena } from "./arena.ts";
import type { CaptureRecorder } from "./capture-recorder.ts";
import { requireBeside } from "./checks.ts";
import { type CommandList, Mode, Op } from "./commands.ts";
import type { HandleRegistry, WasmSegment } from "./handles.ts";
import { align, type PanelType, panelBytes, panelType, WEIGHT_TYPES } from "./layout.ts";
import type { Recorder } from "./recorder.ts";
import type { Scratch } from "./scratch.ts";

/** Packed activations of a call: rows from `row` on lie at offset + row × tokenBytes. */
export interface Panels {
  offset: number;
  tokenBytes: number;
  /** Packed by the call at hand. */
  ready: boolean;
}

/** Rows that go through the bank together, and the segments that they take: a part of the recorder's list. */
export interface Group {
  row: number;
  n: number;
  first: number;
  end: number;
  /** h of all segments side by side [n, hStride] f32; segments begin at multiples of 8 */
  h: number;
  hStride: number;
}

/** A segment with m ≠ 0 on its way through the bank. */
interface ActiveSegment {
  segment: WasmSegment;
  m: number | ArrayLike<number>;
  entry: BankEntry;
  out: Tensor;
  /** Its column of the group's h. */
  column: number;
  packed: number;
}

/** Words of a part of a product (assembly/layout.ts), and of an entry of the table of `bank_down`. */
const PART_WORDS = 4;
const ENTRY_WORDS = 6;

/** Lists and records live as long as the recorder: a decoder calls it a hundred times per token. */
export class BankRecorder {
  readonly #arena: Arena;
  readonly #handles: HandleRegistry;
  readonly #scratch: Scratch;
  readonly #commands: CommandList;
  readonly #captures: CaptureRecorder;
  readonly #relaxed: boolean;
  readonly #groups: Group[] = [];
  #nGroups = 0;
  readonly #segments: ActiveSegment[] = [];
  #active = 0;

  constructor({ arena, handles, scratch, commands, captures }: Recorder, relaxed: boolean) {
    this.#arena = arena;
    this.#handles = handles;
    this.#scratch = scratch;
    this.#commands = commands;
    this.#captures = captures;
    this.#relaxed = relaxed;
  }

  get isEmpty(): boolean {
    return this.#active === 0;
  }

  /** Rows that form no panel of 4 are packed one by one: then a group lies in the panels of all rows as in its own. */
  needsOwnPanels(n: number): boolean {
    return this.#nGroups > 1 && n >= 4;
  }

  get groupCount(): number {
    return this.#nGroups;
  }

  group(index: number): Group {
    return this.#groups[index] as Group;
  }

  /** Finds the segments with m ≠ 0, and places for what becomes of them. */
  place(outputs: readonly LinearOutput[], n: number): void {
    this.#nGroups = 0;
    this.#active = 0;
    const joined = this.#canJoin(outputs, n);
    let row = 0;
    for (let end = 1; end <= n; end++) {
      if (end < n && (joined || !changesAt(outputs, end))) continue;
      this.#placeGroup(outputs, row, end - row, joined);
      row = end;
    }
    if (this.#active > 0) this.#placeMemory();
  }

  /** Whether a segment of this type takes part. */
  uses(type: WeightType): boolean {
    for (let i = 0; i < this.#active; i++) {
      if (this.#segment(i).segment.type === type) return true;
    }
    return false;
  }

  /** h = m (A x), for the segments of a type. Threads need not meet after it. */
  recordDown(type: WeightType, input: Panels): void {
    for (let i = 0; i < this.#nGroups; i++) {
      const group = this.group(i);
      const { n, first, end, h, hStride } = group;
      let tiles = 0;
      let numbers = 0;
      let column = -1;
      for (let j = first; j < end; j++) {
        const active = this.#segment(j);
        if (active.segment.type !== type) continue;
        if (column < 0) column = active.column;
        tiles += tilesOf(active.segment);
        numbers += typeof active.m === "number" ? 1 : n;
      }
      if (tiles === 0) continue;
      const table = this.#commands.table(tiles * ENTRY_WORDS + numbers);
      this.#fillEntries(group, type, table, tiles, input);
      this.#commands.push(Op.bankDown[type], h + column * 4, hStride, table, tiles, n);
      this.#commands.joinNext();
    }
  }

  #fillEntries(
    { row, n, first, end }: Group,
    type: WeightType,
    table: number,
    nTiles: number,
    input: Panels,
  ): void {
    const { i32, f32 } = this.#arena;
    const x = input.offset + row * input.tokenBytes;
    let word = table / 4;
    let at = word + nTiles * ENTRY_WORDS; // m of each segment
    for (let j = first; j < end; j++) {
      const { segment, m, entry } = this.#segment(j);
      const { offset, cols, nBytes } = segment.a;
      if (segment.type !== type) continue;
      const tiles = tilesOf(segment);
      for (let tile = 0; tile < tiles; tile++) {
        i32[word++] = offset + (tile * nBytes) / tiles;
        i32[word++] = x;
        i32[word++] = input.tokenBytes;
        i32[word++] = cols;
        i32[word++] = at * 4 - table;
        i32[word++] = typeof m === "number" ? 0 : 4;
      }
      this.#captures.number(at, entry); // captures are of one row
      if (typeof m === "number") f32[at++] = m;
      else for (let t = 0; t < n; t++) f32[at++] = m[row + t] as number;
    }
  }

  /** Packs every h for its product. Threads need not meet after it. */
  recordPack(): void {
    for (let i = 0; i < this.#nGroups; i++) {
      const { n, first, end, h, hStride } = this.group(i);
      for (let j = first; j < end; j++) {
        const { segment, packed, column } = this.#segment(j);
        const type = panelType(segment.type, this.#relaxed);
        if (isReadInPlace(type, n)) continue;
        const { rank } = segment;
        this.#commands.push(Op.pack[type], packed, h + column * 4, hStride, n, rank);
        this.#commands.joinNext();
      }
    }
  }

  /** out += Σ B h, output by output. Products into one output are split over threads alike: none waits for another's. */
  recordUp(): void {
    for (let i = 0; i < this.#nGroups; i++) {
      const group = this.group(i);
      for (let first = group.first; first < group.end; ) {
        let end = first + 1;
        while (end < group.end && this.#goesWith(end)) end++;
        this.#recordOutput(group, first, end);
        first = end;
      }
    }
  }

  /** Whether a segment is added in one pass with the one before: to the same output, with no bias in between. */
  #goesWith(index: number): boolean {
    const before = this.#segment(index - 1);
    return this.#segment(index).out === before.out && before.segment.bias === undefined;
  }

  /** Segments of one output, of which only the last may have a bias. */
  #recordOutput(group: Group, first: number, end: number): void {
    const { row, n } = group;
    const commands = this.#commands;
    const { out, segment } = this.#segment(first);
    const to = this.#handles.get(out).offset + row * out.cols * 4;
    const table = commands.table((end - first) * PART_WORDS);
    this.#fillParts(group, first, end, table);
    const { type, rows } = segment;
    commands.push(Op.linear[type], to, out.cols, table, end - first, n, rows, 0, Mode.continue);
    commands.joinNext();
    const { segment: last, m, entry } = this.#segment(end - 1);
    if (last.bias === undefined) return;
    commands.meet();
    commands.push(Op.addBias, to, out.cols, last.bias.offset, n, rows);
    commands.float(5, m as number); // segments with a bias are not joined
    this.#captures.number(commands.argument(5), entry);
  }

  #fillParts({ n, h, hStride }: Group, first: number, end: number, table: number): void {
    const { i32 } = this.#arena;
    let word = table / 4;
    for (let j = first; j < end; j++) {
      const { segment, column, packed } = this.#segment(j);
      const type = panelType(segment.type, this.#relaxed);
      const inPlace = isReadInPlace(type, n);
      i32[word++] = segment.b.offset;
      i32[word++] = inPlace ? h + column * 4 : packed;
      i32[word++] = inPlace ? hStride * 4 : panelBytes(type, segment.rank);
      i32[word++] = segment.rank;
    }
  }

  /** Whether every segment takes part in all rows or none, and none adds m × bias. */
  #canJoin(outputs: readonly LinearOutput[], n: number): boolean {
    for (const { bank } of outputs) {
      for (const { segment, m } of bank) {
        if (typeof m === "number") continue;
        requireNumbers(m, n);
        if (isMixed(m, n) || this.#handles.get(segment).bias !== undefined) return false;
      }
    }
    return true;
  }

  #placeGroup(outputs: readonly LinearOutput[], row: number, n: number, joined: boolean): void {
    const first = this.#active;
    let column = 0;
    for (const type of WEIGHT_TYPES) {
      for (const { out, weight, bank } of outputs) {
        if (weight.type !== type) continue;
        for (let i = 0; i < bank.length; i++) {
          const entry = bank[i] as BankEntry;
          const { m } = entry;
          const atRow = typeof m === "number" ? m : (m[row] as number);
          if (atRow === 0) {
            this.#captures.zero(entry);
            continue;
          }
          const segment = this.#handles.get(entry.segment);
          requireBeside(segment, weight);
          this.#activate(segment, joined ? m : atRow, entry, out, column);
          column += align(segment.rank, 8);
        }
      }
    }
    const group = this.#groups[this.#nGroups++];
    const end = this.#active;
    if (group === undefined) {
      this.#groups.push({ row, n, first, end, h: 0, hStride: column });
      return;
    }
    group.row = row;
    group.n = n;
    group.first = first;
    group.end = end;
    group.hStride = column;
  }

  #activate(
    segment: WasmSegment,
    m: number | ArrayLike<number>,
    entry: BankEntry,
    out: Tensor,
    column: number,
  ): void {
    const place = this.#segments[this.#active++];
    if (place === undefined) {
      this.#segments.push({ segment, m, entry, out, column, packed: 0 });
      return;
    }
    place.segment = segment;
    place.m = m;
    place.entry = entry;
    place.out = out;
    place.column = column;
  }

  /** Room for every group's h, and for h packed. */
  #placeMemory(): void {
    let hBytes = 0;
    let packedBytes = 0;
    for (let i = 0; i < this.#nGroups; i++) {
      const group = this.group(i);
      group.h = hBytes;
      hBytes += align(group.n * group.hStride * 4, 16);
      for (let j = group.first; j < group.end; j++) {
        const active = this.#segment(j);
        const { rank, type } = active.segment;
        active.packed = packedBytes;
        packedBytes += align(group.n * panelBytes(panelType(type, this.#relaxed), rank), 16);
      }
    }
    const h = this.#scratch.get("h", hBytes);
    const packed = this.#scratch.get("packed h", packedBytes);
    for (let i = 0; i < this.#nGroups; i++) this.group(i).h += h;
    for (let i = 0; i < this.#active; i++) this.#segment(i).packed += packed;
  }

  #segment(index: number): ActiveSegment {
    return this.#segments[index] as ActiveSegment;
  }
}

function tilesOf({ rank }: WasmSegment): number {
  return Math.ceil(rank / 8);
}

/** f32 rows that form no panel of 4 are read where they lie. */
export function isReadInPlace(type: PanelType, n: number): boolean {
  return type === "f32" && n < 4;
}

/** Whether any segment's m at row `row` differs from the row before. */
function changesAt(outputs: readonly LinearOutput[], row: number): boolean {
  for (const { bank } of outputs) {
    for (const { m } of bank) if (typeof m !== "number" && m[row] !== m[row - 1]) return true;
  }
  return false;
}

/** Whether some but not all of the first n numbers are 0. */
function isMixed(m: ArrayLike<number>, n: number): boolean {
  for (let i = 1; i < n; i++) if ((m[i] === 0) !== (m[0] === 0)) return true;
  return false;
}

function requireNumbers(m: ArrayLike<number>, n: number): void {
  if (m.length < n) throw new Error(`m has ${m.length} numbers for ${n} rows`);
}
