// Losses of a learning run: every step's batch thin, the validation loss bold, and which weights were kept.
import type { LossCurve } from "../engine/learning.ts";

const WIDTH = 480;
const HEIGHT = 200;
const LEFT = 36;
const BOTTOM = 24;
const TOP = 10;

export function LossChart({ losses, evaluations, steps, bestStep }: LossCurve) {
  const values = [...losses, ...evaluations.map(({ loss }) => loss)];
  const top = niceCeiling(Math.max(values.length === 0 ? 1 : 0.1, ...values));
  const x = (step: number) => LEFT + ((WIDTH - LEFT - 8) * step) / Math.max(1, steps);
  const y = (loss: number) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - loss / top);
  const line = (points: readonly (readonly [number, number])[]) =>
    points.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" ");
  const best = evaluations.find(({ step }) => step === bestStep);
  const ticks = [0, top / 2, top];
  return (
    <svg
      class="chart"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={describe({ losses, evaluations, steps })}
    >
      {ticks.map((tick) => (
        <g key={tick}>
          <line class="chart-rule" x1={LEFT} x2={WIDTH - 8} y1={y(tick)} y2={y(tick)} />
          <text x={LEFT - 8} y={y(tick) + 4} text-anchor="end">
            {tick.toFixed(1)}
          </text>
        </g>
      ))}
      <text x={LEFT} y={HEIGHT - 4}>
        step 0
      </text>
      <text x={WIDTH - 8} y={HEIGHT - 4} text-anchor="end">
        {steps > 0 ? steps : "last"}
      </text>
      <polyline class="chart-thin" points={line(losses.map((loss, i) => [i + 1, loss]))} />
      <polyline
        class="chart-bold"
        points={line(evaluations.map(({ step, loss }) => [step, loss]))}
      />
      {evaluations.map(({ step, loss }) => (
        <circle key={step} class="chart-dot" cx={x(step)} cy={y(loss)} r={3} />
      ))}
      {best && <circle class="chart-best" cx={x(best.step)} cy={y(best.loss)} r={6} />}
    </svg>
  );
}

function niceCeiling(value: number): number {
  return Math.ceil(value * 5) / 5;
}

function describe({ losses, evaluations, steps }: LossCurve): string {
  const first = evaluations[0]?.loss;
  const last = evaluations.at(-1)?.loss;
  if (first === undefined || last === undefined) return "Loss curve: nothing learned yet";
  return `Loss curve: after ${losses.length} of ${steps} steps, validation loss ${last.toFixed(2)}, from ${first.toFixed(2)}`;
}
