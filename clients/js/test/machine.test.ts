import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Player, type Vector } from "./support/vectors.js";

const file = new URL("../../../tests/contract/client.json", import.meta.url);
const { vectors } = JSON.parse(readFileSync(file, "utf8")) as { vectors: Vector[] };

function stepsBefore(vector: Vector): Vector["steps"] {
  if (vector.follows === undefined) return [];
  const before = vectors.find(({ name }) => name === vector.follows) as Vector;
  return [...stepsBefore(before), ...before.steps];
}

describe("every client does what the vectors say", () => {
  test.each(vectors)("$name: $why", (vector) => {
    const player = new Player();
    for (const step of stepsBefore(vector)) player.play(step);

    for (const step of vector.steps) expect({ ...step, out: player.play(step) }).toEqual(step);
  });
});
