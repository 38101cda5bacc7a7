import { describe, expect, test } from "vitest";
import { Order } from "../src/order.js";
import type { RunEvent } from "../src/protocol.js";
import { shuffled } from "./support/chance.js";

const KEPT = 1_000;
const event = (id: number): RunEvent => ({ id, run_id: "r1", username: "u", type: "step" });
const ids = (events: RunEvent[]): number[] => events.map(({ id }) => id as number);
const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);

function from(cursor: number): Order {
  const order = new Order();
  order.begin(cursor);
  return order;
}

describe("the order of a feed", () => {
  test.each(upTo(20))("is kept, whatever order the events come in and however often (seed %i)", (seed) => {
    const order = from(0);
    const coming = shuffled([...upTo(200), ...upTo(200)], seed);

    expect(coming.flatMap((id) => ids(order.arrive(event(id))))).toEqual(upTo(200));
    expect(order.hole).toBe(false);
  });

  test("begins with the first event where nobody knows the cursor", () => {
    const order = new Order();

    expect(ids(order.arrive(event(7)))).toEqual([7]);
    expect(order.cursor).toBe(7);
  });

  test("has a hole while something is missing, and none once that came some other way", () => {
    const order = from(5);
    order.arrive(event(8));
    expect(order.hole).toBe(true);

    expect(ids(order.advance(7))).toEqual([8]);
    expect([order.cursor, order.hole]).toEqual([8, false]);
  });

  test("has a hole when the hub says that it has sent more than came", () => {
    const order = from(5);
    order.told(5);
    expect(order.hole).toBe(false);

    order.told(6);
    expect(order.hole).toBe(true);
    order.arrive(event(6));
    expect(order.hole).toBe(false);
  });

  test(`keeps ${KEPT} events behind a hole and forgets what comes then, but not the next one`, () => {
    const order = from(0);
    for (let id = 2; id <= KEPT + 3; id++) expect(order.arrive(event(id))).toEqual([]);

    expect(ids(order.arrive(event(1)))).toEqual(upTo(KEPT + 1));
    expect(order.cursor).toBe(KEPT + 1);
  });

  test("has no hole where ids are left out, and takes the hub's word for how far it is", () => {
    const order = from(5);
    order.partial = true;
    expect([ids(order.arrive(event(9))), ids(order.arrive(event(7))), ids(order.arrive(event(10)))]).toEqual([[9], [], [10]]);
    order.told(20);
    order.told(19);

    expect([order.cursor, order.hole]).toEqual([20, false]);
    expect([ids(order.arrive(event(20))), ids(order.arrive(event(31)))]).toEqual([[], [31]]);
  });

  test("holds nothing of what was before it began anew", () => {
    const order = from(0);
    order.arrive(event(3));
    order.told(9);
    order.begin(1);

    expect(order.hole).toBe(false);
    expect(ids(order.arrive(event(2)))).toEqual([2]);
  });
});
