/** The texts of events as they came, by id: a frame is the same bytes on a stream and in a history. */

const MOST = 16 * 2 ** 20; // characters that are kept

export class Frames {
  readonly #texts = new Map<number, string>();
  #size = 0;

  get(id: number | undefined): string | undefined {
    return id === undefined ? undefined : this.#texts.get(id);
  }

  take(id: number, text: string): void {
    if (this.#texts.has(id)) return;
    this.#texts.set(id, text);
    this.#size += text.length;
    for (const [old, known] of this.#texts) {
      if (this.#size <= MOST) break;
      this.#texts.delete(old);
      this.#size -= known.length;
    }
  }
}

/** The events of a history's body, cut out and not parsed and written again: that would change some. */
export function framesOf(body: string): string[] {
  const found: string[] = [];
  const list = body.indexOf('"events":[');
  if (list < 0) return found;
  for (let at = list + 10; body[at] === "{"; ) {
    const end = endOf(body, at);
    if (end < 0) break;
    found.push(body.slice(at, end));
    at = end + 1; // a comma, or the end
  }
  return found;
}

const NEXT = /["{}]/g;
const QUOTE = /["\\]/g;

/** Behind the object that begins here; -1: it does not end. */
function endOf(text: string, begin: number): number {
  let depth = 0;
  NEXT.lastIndex = begin;
  for (let match = NEXT.exec(text); match !== null; match = NEXT.exec(text)) {
    if (match[0] === "{") depth += 1;
    else if (match[0] === "}") depth -= 1;
    else if ((NEXT.lastIndex = stringEnd(text, NEXT.lastIndex)) < 0) return -1;
    if (depth === 0) return NEXT.lastIndex;
  }
  return -1;
}

function stringEnd(text: string, from: number): number {
  QUOTE.lastIndex = from;
  for (let match = QUOTE.exec(text); match !== null; match = QUOTE.exec(text)) {
    if (match[0] === '"') return QUOTE.lastIndex;
    QUOTE.lastIndex += 1;
  }
  return -1;
}
