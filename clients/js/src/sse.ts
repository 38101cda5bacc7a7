/** Reads Server-Sent Events, however the bytes are cut. */

export interface Block {
  readonly event: string;
  /** null: the block had no data. */
  readonly data: string | null;
  /** null: it had no id; "": it had an empty one. */
  readonly id: string | null;
  /** ms that the server asks to wait before the next try. */
  readonly retry: number | null;
}

const MOST = 4 * 2 ** 20; // characters of a line that does not end: a frame has 64 KiB at most

export class Blocks {
  #rest = "";
  #event = "";
  #data: string[] = [];
  #id: string | null = null;
  #retry: number | null = null;
  #said = false;

  /** Takes a piece of text. The blocks that it completes. Throws when a line is longer than any of ours can be. */
  feed(text: string): Block[] {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() as string;
    if (this.#rest.length > MOST) throw new RangeError("a line of the event stream does not end");
    return lines.flatMap((line) => this.#line(line) ?? []);
  }

  #line(line: string): Block | null {
    if (line === "") return this.#end();
    this.#said = true;
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^\d{1,8}$/.test(value)) this.#retry = Number(value);
    return null;
  }

  #end(): Block | null {
    const block: Block = {
      event: this.#event || "message",
      data: this.#data.length > 0 ? this.#data.join("\n") : null,
      id: this.#id,
      retry: this.#retry,
    };
    const said = this.#said;
    this.#event = "";
    this.#data = [];
    this.#id = this.#retry = null;
    this.#said = false;
    return said ? block : null;
  }
}
