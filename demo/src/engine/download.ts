// What a visitor takes along: a soup as its recipe, or as one PEFT adapter.
import { createMemorySink } from "tureen";
import type { RemoteSoup } from "tureen/worker";

export async function downloadRecipe(soup: RemoteSoup): Promise<void> {
  const sink = createMemorySink();
  await soup.save(sink);
  offer("soup.json", sink.files["soup.json"]!, "application/json");
}

/** One zip of the adapter's two files, uncompressed: weights do not compress. */
export async function downloadPeft(soup: RemoteSoup): Promise<void> {
  const { zipSync } = await import("fflate");
  const sink = createMemorySink();
  await soup.save(sink, { format: "peft" });
  const entries = Object.entries(sink.files).map(([name, bytes]) => [`soup-peft/${name}`, bytes]);
  offer("soup-peft.zip", zipSync(Object.fromEntries(entries), { level: 0 }), "application/zip");
}

function offer(name: string, bytes: Uint8Array, type: string): void {
  const url = URL.createObjectURL(new Blob([bytes as Uint8Array<ArrayBuffer>], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
