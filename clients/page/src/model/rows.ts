/** Where the rows of a long list are: all have one height, but for a few that are open. */

export class Rows {
  readonly count: number;
  readonly height: number;
  /** Rows that are higher, by index ascending: [index, by how much]. */
  readonly #extras: readonly (readonly [index: number, more: number])[];

  constructor(count: number, height: number, extras: readonly (readonly [number, number])[] = []) {
    this.count = count;
    this.height = height;
    this.#extras = extras;
  }

  get total(): number {
    return this.top(this.count);
  }

  /** Where a row begins. */
  top(index: number): number {
    let top = index * this.height;
    for (const [open, more] of this.#extras) {
      if (open >= index) break;
      top += more;
    }
    return top;
  }

  /** The row at a place; the nearest when there is none. */
  at(y: number): number {
    let before = 0; // what open rows above add
    for (const [open, more] of this.#extras) {
      const top = open * this.height + before;
      if (y < top + this.height) break;
      if (y < top + this.height + more) return open;
      before += more;
    }
    return Math.max(0, Math.min(this.count - 1, Math.floor((y - before) / this.height)));
  }

  /** The rows to draw for a view, [from, to): what it shows and some more on both sides. */
  window(y: number, view: number, over: number): [from: number, to: number] {
    if (this.count === 0) return [0, 0];
    const from = Math.max(0, this.at(Math.max(0, y)) - over);
    const to = Math.min(this.count, this.at(Math.max(0, y + view)) + over + 1);
    return [from, to];
  }
}
