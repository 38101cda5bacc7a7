/** Whether numbers came 1..n: without a hole, and none twice. */

export class Seqs {
  first: number | null = null;
  last: number | null = null;
  /** Numbers that should have come before one that did. */
  missing = 0;
  repeated = 0;

  take(number: number | undefined): void {
    if (number === undefined) return;
    if (this.last === null) this.first = this.last = number;
    else if (number <= this.last) this.repeated += 1;
    else {
      this.missing += number - this.last - 1;
      this.last = number;
    }
  }

  restart(): void {
    this.first = this.last = null;
    this.missing = this.repeated = 0;
  }

  get whole(): boolean {
    return this.missing === 0 && this.repeated === 0;
  }

  /** The first and the last: `1..34`. */
  get range(): string {
    if (this.last === null) return "none yet";
    return this.first === this.last ? String(this.last) : `${this.first}..${this.last}`;
  }

  /** In words: `1..34, no hole`. */
  toString(): string {
    if (this.last === null) return this.range;
    const wrong = [
      this.missing > 0 ? `${this.missing} missing` : "",
      this.repeated > 0 ? `${this.repeated} repeated` : "",
    ].filter((each) => each !== "");
    return `${this.range}, ${wrong.length > 0 ? wrong.join(", ") : "no hole"}`;
  }
}
