import type { ComponentChildren } from "preact";

interface Props {
  readonly id: string;
  readonly title: string;
  readonly lead: ComponentChildren;
  readonly children: ComponentChildren;
}

/** One step of the page: heading, a sentence or two, and the thing itself. */
export function Section({ id, title, lead, children }: Props) {
  return (
    <section id={id} class="section" aria-labelledby={`${id}-title`} tabIndex={-1}>
      <div class="section-head">
        <h2 id={`${id}-title`}>{title}</h2>
        <p class="lead">{lead}</p>
      </div>
      {children}
    </section>
  );
}
