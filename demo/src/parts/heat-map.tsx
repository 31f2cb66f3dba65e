// One adapter's weights, layers across and kinds of linear layer down. Dragging sideways changes a cell, a row or a column;
// with the keyboard, arrows move and + and − change.
import { useRef, useState } from "preact/hooks";
import type { AdapterInfo } from "tureen";
import type { ChangeWeight } from "../engine/blend.ts";
import { formatWeight } from "../engine/format.ts";
import { arrange, keyOf, nameLayer, shortKind } from "../engine/linears.ts";

interface Props {
  readonly info: AdapterInfo;
  readonly label: string;
  readonly tone: string;
  readonly weights: Float32Array;
  /** Changes some linear layers. Without it, the map is for looking only. */
  readonly onChange?: ((paths: readonly string[], change: ChangeWeight) => void) | undefined;
}

/** Of a weight, per pixel dragged and per key. */
const PER_PIXEL = 0.01;
const PER_KEY = 0.05;
/** What is drawn in full colour. */
const FULL = 2;
const MOST = 4;

export function HeatMap({ info, label, tone, weights, onChange }: Props) {
  const [focus, setFocus] = useState({ row: 0, column: 0 });
  const [shown, setShown] = useState<string>();
  const drag = useRef<{ x: number; paths: string[]; start: Float32Array }>(undefined);
  const grid = useRef<HTMLTableElement>(null);
  const { kinds, layers } = arrange(info.linears);
  const weightOf = (path: string) => weights[info.linears.indexOf(path)];

  /** Row 0 and column 0 are the headings: they stand for all of their line. */
  const pathsAt = (row: number, column: number): string[] =>
    kinds
      .filter((_, i) => row === 0 || i === row - 1)
      .flatMap((kind) =>
        layers
          .filter((_, j) => column === 0 || j === column - 1)
          .map((layer) => `${layer}.${kind}`),
      )
      .map((key) => info.linears.find((path) => keyOf(path) === key))
      .filter((path) => path !== undefined);

  const describe = (row: number, column: number): string => {
    const paths = pathsAt(row, column);
    const values = paths.map((path) => weightOf(path)!);
    const sum = values.reduce((total, value) => total + value, 0);
    const where = [
      row === 0 ? "all kinds" : shortKind(kinds[row - 1]!),
      column === 0 ? "all layers" : nameLayer(layers[column - 1]!),
    ].join(", ");
    if (values.length === 0) return `${where}: not in this adapter`;
    return `${where}: ${values.length > 1 ? "mean " : ""}${formatWeight(sum / values.length)}`;
  };

  const begin = (event: PointerEvent, row: number, column: number) => {
    setFocus({ row, column });
    setShown(`${row} ${column}`);
    if (onChange === undefined || event.button !== 0) return;
    (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
    drag.current = { x: event.clientX, paths: pathsAt(row, column), start: weights };
  };
  const move = (event: PointerEvent) => {
    const { current } = drag;
    if (current === undefined || onChange === undefined) return;
    const by = (event.clientX - current.x) * PER_PIXEL;
    onChange(current.paths, (_, path) => {
      return round(current.start[info.linears.indexOf(path)]! + by);
    });
  };
  const end = () => {
    drag.current = undefined;
  };

  const press = (event: KeyboardEvent, row: number, column: number) => {
    const step = STEPS[event.key];
    const change = CHANGES[event.key];
    if (step !== undefined) {
      const next = {
        row: clamp(row + step[0], kinds.length),
        column: clamp(column + step[1], layers.length),
      };
      setFocus(next);
      setShown(`${next.row} ${next.column}`);
      grid.current?.querySelector<HTMLElement>(`[data-at="${next.row} ${next.column}"]`)?.focus();
    } else if (change !== undefined && onChange !== undefined) {
      onChange(pathsAt(row, column), (weight) => round(weight + change * PER_KEY));
    } else return;
    event.preventDefault();
  };

  const cell = (row: number, column: number) => {
    const at = `${row} ${column}`;
    const isHead = row === 0 || column === 0;
    const path = isHead ? undefined : pathsAt(row, column)[0];
    const weight = path === undefined ? undefined : weightOf(path);
    return {
      "data-at": at,
      "aria-label": describe(row, column),
      tabIndex: focus.row === row && focus.column === column ? 0 : -1,
      class: isHead ? "heat-head" : "heat-cell",
      "data-sign": weight !== undefined && weight < 0 ? "minus" : undefined,
      style: weight === undefined ? {} : { "--heat": `${strength(weight)}%` },
      onPointerDown: (event: PointerEvent) => begin(event, row, column),
      onPointerMove: move,
      onPointerUp: end,
      onPointerCancel: end,
      onPointerEnter: () => setShown(at),
      onFocus: () => setShown(at),
      onKeyDown: (event: KeyboardEvent) => press(event, row, column),
    };
  };

  const [row = 0, column = 0] = shown?.split(" ").map(Number) ?? [];
  return (
    <figure class="heat" data-tone={tone} data-live={onChange !== undefined ? "" : undefined}>
      <figcaption>
        <b>{label}</b>
        <span class="scale note" aria-hidden="true">
          0 <i /> {FULL}
        </span>
        <span class="note">{describe(row, column)}</span>
      </figcaption>
      <table
        class="heat-grid"
        // biome-ignore lint/a11y/noNoninteractiveElementToInteractiveRole: a table whose cells are operated
        role="grid"
        ref={grid}
        aria-label={`Weights of ${label}`}
        aria-readonly={onChange === undefined}
        onPointerLeave={() => setShown(undefined)}
      >
        <thead>
          <tr>
            <th scope="col" {...cell(0, 0)}>
              all
            </th>
            {layers.map((layer, j) => (
              <th key={layer} scope="col" {...cell(0, j + 1)}>
                {layer < 0 ? "out" : layer}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {kinds.map((kind, i) => (
            <tr key={kind}>
              <th scope="row" {...cell(i + 1, 0)}>
                {shortKind(kind)}
              </th>
              {layers.map((layer, j) => (
                <td key={layer} {...cell(i + 1, j + 1)} />
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </figure>
  );
}

const STEPS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};
const CHANGES: Readonly<Record<string, number>> = {
  "+": 1,
  "=": 1,
  "-": -1,
  PageUp: 5,
  PageDown: -5,
};

function clamp(index: number, last: number): number {
  return Math.min(last, Math.max(0, index));
}

/** Weights set by hand are hundredths, and not absurd. */
function round(weight: number): number {
  return Math.min(MOST, Math.max(-MOST, Math.round(weight * 100) / 100));
}

function strength(weight: number): number {
  return Math.min(100, (100 * Math.abs(weight)) / FULL);
}
