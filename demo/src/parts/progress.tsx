interface Props {
  readonly label: string;
  readonly done: number;
  readonly total: number;
  readonly note?: string;
}

export function Progress({ label, done, total, note }: Props) {
  return (
    <div class="progress">
      <progress value={done} max={Math.max(1, total)} aria-label={label} />
      <span class="note">{note ?? label}</span>
    </div>
  );
}
