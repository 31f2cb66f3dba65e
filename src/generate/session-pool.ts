// Which cache a text is generated in: the caller's, the model's own, or while that is in use one that fits the text.
import { Session, type SessionContext } from "./session.ts";

/** A session claimed for one text. */
export interface OpenSession {
  readonly session: Session;
  close(): void;
}

export class SessionPool {
  readonly #context: SessionContext;
  readonly #length: number;
  /** The model's own, kept from text to text: of full length. */
  #own: Session | undefined;
  #isOwnInUse = false;
  #closed = false;

  /** @param length of a context, in positions */
  constructor(context: SessionContext, length: number) {
    this.#context = context;
    this.#length = length;
  }

  /** @throws TureenError `OUT_OF_MEMORY`, `OPTION_INVALID` */
  create(length: number = this.#length): Session {
    return new Session(this.#context, length);
  }

  /**
   * @param wanted the caller's session
   * @param length positions that the text needs at most
   * @throws TureenError `OPTION_INVALID` if the caller's session is in use, `OUT_OF_MEMORY`
   */
  open(wanted: Session | undefined, length: number): OpenSession {
    if (wanted !== undefined) return { session: wanted, close: wanted.acquire() };
    if (this.#isOwnInUse) {
      const session = this.create(Math.max(1, Math.min(length, this.#length)));
      const release = session.acquire();
      const close = (): void => {
        release();
        session.dispose();
      };
      return { session, close };
    }
    this.#own ??= this.create();
    const session = this.#own;
    const release = session.acquire();
    this.#isOwnInUse = true;
    const close = (): void => {
      release();
      this.#isOwnInUse = false;
      if (this.#closed) session.dispose();
    };
    return { session, close };
  }

  /** The model's own session ends with its text. */
  close(): void {
    this.#closed = true;
  }
}
