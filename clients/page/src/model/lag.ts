/** How late events come: received minus recorded, of the last 60. */

const KEPT = 60;

export class Lag {
  /** ms, the latest last. */
  readonly values: number[] = [];

  take(ms: number): void {
    this.values.push(ms);
    if (this.values.length > KEPT) this.values.shift();
  }

  get last(): number | null {
    return this.values.at(-1) ?? null;
  }

  get median(): number | null {
    return median(this.values);
  }

  get worst(): number | null {
    return this.values.length > 0 ? Math.max(...this.values) : null;
  }
}

export function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[half] as number) : ((sorted[half - 1] as number) + (sorted[half] as number)) / 2;
}
