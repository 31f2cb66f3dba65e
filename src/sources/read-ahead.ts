// Fewer and larger requests for a file that is read in small pieces over a network: what lies behind a piece is fetched with
// it, more of it the longer reading goes on in order, and the next request is under way before it is asked for.
import type { ByteReader } from "./byte-source.ts";
import { untilAborted } from "./until-aborted.ts";

/** Of a request somewhere in the file. */
const FIRST = 256 * 1024;
/** Requests grow by this while reading goes on in order. */
const GROWTH = 4;
/** Of one request. Longer reads are requests of their own. */
const LARGEST = 4 * 1024 * 1024;
/** Requests whose answers are held: the one being read, those ahead, one behind. */
const HELD = 4;
const AHEAD = 2;

interface Extent {
  readonly start: number;
  readonly end: number;
  readonly bytes: Promise<Uint8Array>;
  readonly stop: AbortController;
  /** Reads that need it now. */
  readers: number;
}

/**
 * @param size of the file, in bytes
 * @param fetch one request
 */
export function createReadAhead(
  size: number,
  fetch: (offset: number, nBytes: number, signal: AbortSignal | undefined) => Promise<Uint8Array>,
): ByteReader {
  /** The one used last stands last. */
  let extents: Extent[] = [];
  /** Of the last request in order. */
  let growing = 0;
  /** Where the last request ended. */
  let frontier = 0;

  function find(offset: number): Extent | undefined {
    return extents.find(({ start, end }) => start <= offset && offset < end);
  }

  function drop(extent: Extent): void {
    extents = extents.filter((other) => other !== extent);
  }

  /** Ends the request if nobody else waits for it. */
  async function readFrom(extent: Extent, signal: AbortSignal | undefined): Promise<Uint8Array> {
    extent.readers++;
    try {
      return await untilAborted(extent.bytes, signal);
    } finally {
      extent.readers--;
      if (extent.readers === 0 && signal?.aborted === true) {
        extent.stop.abort();
        drop(extent);
      }
    }
  }

  function request(start: number, nBytes: number): Extent {
    const end = Math.min(size, start + nBytes);
    const stop = new AbortController();
    const bytes = fetch(start, end - start, stop.signal);
    const extent: Extent = { start, end, bytes, stop, readers: 0 };
    bytes.catch(() => drop(extent)); // the next read tries again
    extents = [...extents, extent].slice(-HELD);
    frontier = end;
    return extent;
  }

  function grow(): number {
    growing = Math.max(FIRST, Math.min(LARGEST, growing * GROWTH));
    return growing;
  }

  /** The request that holds `offset`. Where reading goes on in order, the next ones are made, too. */
  function seek(offset: number, nBytes: number): Extent {
    let extent = find(offset);
    if (extent === undefined) {
      const isInOrder = Math.abs(offset - frontier) <= FIRST;
      if (!isInOrder) growing = 0;
      // A little before the piece, too: tensors of a layer are not always read as they lie.
      const begin = offset - (offset % FIRST);
      const start = find(begin)?.end ?? begin;
      extent = request(start, Math.max(offset + nBytes - start, grow()));
    }
    const { end } = extent;
    extents = [...extents.filter((other) => other !== extent), extent];
    const ahead = extents.filter(({ start }) => start >= end && start < frontier);
    const isNear = frontier >= end && frontier - end <= AHEAD * LARGEST;
    if (growing > FIRST && isNear && ahead.length < AHEAD && frontier < size) {
      request(frontier, grow());
    }
    return extent;
  }

  async function release(): Promise<void> {
    for (const { stop } of extents.splice(0)) stop.abort();
  }

  return {
    async read(offset, nBytes, signal) {
      if (nBytes > LARGEST) return fetch(offset, nBytes, signal);
      const end = offset + nBytes;
      const pieces: Uint8Array[] = [];
      for (let at = offset; at < end; ) {
        const extent = seek(at, end - at);
        const bytes = await readFrom(extent, signal);
        pieces.push(bytes.subarray(at - extent.start, end - extent.start));
        at = Math.min(end, extent.end);
      }
      return pieces.length === 1 ? pieces[0]! : join(pieces, nBytes);
    },
    settle: release,
    close: release,
  };
}

function join(pieces: readonly Uint8Array[], nBytes: number): Uint8Array {
  const bytes = new Uint8Array(nBytes);
  let done = 0;
  for (const piece of pieces) {
    bytes.set(piece, done);
    done += piece.byteLength;
  }
  return bytes;
}
