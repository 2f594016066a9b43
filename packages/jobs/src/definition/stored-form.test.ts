import { expect, test } from "vitest";
import { z } from "zod";
import * as mini from "zod/mini";

import { defineJob, traitsOf } from "./job-definition.ts";
import { readStoredForm, type StoredForm } from "./stored-form.ts";

function read(schema: z.ZodType, value: unknown): StoredForm<z.ZodType> {
  const json: unknown = JSON.parse(JSON.stringify(value));
  return readStoredForm(schema, traitsOf(schema, "x", "payload"), json);
}

const id = z.object({ id: z.string() });
const row = { id: "d-1", passwordHash: "hunter2" };
const length = z.string().transform((text) => text.length);
const measured = z.object({ text: length });
const dated = z.codec(z.iso.datetime(), z.date(), {
  decode: (text) => new Date(text),
  encode: (date) => date.toISOString(),
});
const at = "2026-11-01T08:00:00.000Z";

interface Node {
  name: number;
  children: Node[];
}
const node: z.ZodType<Node> = z.object({
  name: length,
  get children() {
    return z.array(node);
  },
});
const lazyNode: z.ZodType = z.lazy(() => z.object({ name: length, next: lazyNode.optional() }));

/** A schema, what is enqueued, what is stored, and what the handler gets where that is something else. */
const cases: Readonly<Record<string, [z.ZodType, unknown, unknown, unknown?]>> = {
  "a row with more than its schema": [id, row, { id: "d-1" }],
  "a nested row": [z.object({ draft: id }), { draft: row }, { draft: { id: "d-1" } }],
  "an array": [z.array(id), [row, row], [{ id: "d-1" }, { id: "d-1" }]],
  "a tuple": [z.tuple([id], z.number()), [row, 1], [{ id: "d-1" }, 1]],
  "a record": [z.record(z.string(), id), { a: row }, { a: { id: "d-1" } }],
  "a union": [z.union([z.string(), id]), row, { id: "d-1" }],
  "a discriminated union": [
    z.discriminatedUnion("kind", [
      z.object({ kind: z.literal("a"), a: z.number() }),
      z.object({ kind: z.literal("b"), b: z.number() }),
    ]),
    { kind: "b", a: 1, b: 2 },
    { kind: "b", b: 2 },
  ],
  "an intersection": [
    z.intersection(id, z.object({ n: z.number() })),
    { ...row, n: 1 },
    { id: "d-1", n: 1 },
  ],
  "a default": [z.object({ n: z.number().default(7) }), {}, { n: 7 }],
  "a prefault": [z.object({ n: z.number().prefault(7) }), {}, { n: 7 }],
  "optional and nullable": [
    z.object({ a: z.string().optional(), b: z.string().nullable() }),
    { b: null, c: 1 },
    { b: null },
  ],
  "a brand, a readonly and a refinement": [
    z
      .object({ id: z.string().brand("id") })
      .readonly()
      .refine(() => true),
    row,
    { id: "d-1" },
  ],
  "a coerced number": [z.object({ n: z.coerce.number() }), { n: "5" }, { n: 5 }],
  "a coerced date": [z.object({ at: z.coerce.date() }), { at }, { at }, { at: new Date(at) }],
  "a coerced bigint": [z.object({ n: z.coerce.bigint() }), { n: "5", m: 1 }, { n: "5" }, { n: 5n }],
  "a trim": [z.object({ text: z.string().trim() }), { text: " a " }, { text: "a" }],
  "a catch": [z.object({ n: z.number().catch(3) }), { n: "x" }, { n: 3 }],
  "a passthrough": [z.looseObject({ id: z.string() }), row, row],
  "a catchall": [z.object({}).catchall(id), { a: row }, { a: { id: "d-1" } }],
  "any JSON": [
    z.object({ data: z.json() }),
    { data: { a: [1, null] }, b: 1 },
    { data: { a: [1, null] } },
  ],
  "a schema of zod/mini": [
    mini.object({ id: mini.string() }) as unknown as z.ZodType,
    row,
    { id: "d-1" },
  ],
  "a transform": [
    z.object({ text: length, draft: id }),
    { text: "four", draft: row, more: 1 },
    { text: "four", draft: { id: "d-1" } },
    { text: 4, draft: { id: "d-1" } },
  ],
  "a transform of an object": [id.transform((draft) => draft.id), row, { id: "d-1" }, "d-1"],
  "transforms in arrays, tuples and records": [
    z.object({
      a: z.array(measured),
      t: z.tuple([measured], measured),
      r: z.record(z.string(), measured),
    }),
    {
      a: [{ text: "a", x: 1 }],
      t: [{ text: "a" }, { text: "bb", x: 1 }],
      r: { k: { text: "a", x: 1 } },
    },
    { a: [{ text: "a" }], t: [{ text: "a" }, { text: "bb" }], r: { k: { text: "a" } } },
    { a: [{ text: 1 }], t: [{ text: 1 }, { text: 2 }], r: { k: { text: 1 } } },
  ],
  "transforms in a union": [
    z.union([id, measured]),
    { text: "four", more: 1 },
    { text: "four" },
    { text: 4 },
  ],
  "transforms in a discriminated union": [
    z.discriminatedUnion("kind", [
      z.object({ kind: z.literal("a"), text: length }),
      z.object({ kind: z.literal("b"), text: z.string() }),
    ]),
    { kind: "a", text: "four", more: 1 },
    { kind: "a", text: "four" },
    { kind: "a", text: 4 },
  ],
  "transforms in an intersection": [
    z.intersection(measured, z.object({ draft: id })),
    { text: "four", draft: row, more: 1 },
    { text: "four", draft: { id: "d-1" } },
    { text: 4, draft: { id: "d-1" } },
  ],
  "a default of a transform": [
    z.object({ text: length.default(0), n: z.number().default(7), some: length.prefault("some") }),
    {},
    { n: 7, some: "some" },
    { text: 0, n: 7, some: 4 },
  ],
  "a catch of a transform": [
    z.object({ text: length.catch(0) }),
    { text: { secret: 1 } },
    {},
    { text: 0 },
  ],
  "transforms in strict and loose objects": [
    z.strictObject({ loose: z.looseObject({ text: length }) }),
    { loose: { text: "four", more: 1 } },
    { loose: { text: "four", more: 1 } },
    { loose: { text: 4, more: 1 } },
  ],
  "a pipe": [z.object({ n: z.coerce.number().pipe(z.int()) }), { n: "5", m: 1 }, { n: 5 }],
  "a codec": [z.object({ at: dated }), { at, more: 1 }, { at }, { at: new Date(at) }],
  "a stringbool": [z.object({ is: z.stringbool() }), { is: "yes" }, { is: "yes" }, { is: true }],
  "a preprocess that leaves what it made": [
    z.preprocess((value) => (typeof value === "string" ? JSON.parse(value) : value), id),
    JSON.stringify(row),
    { id: "d-1" },
  ],
  "a schema that holds itself": [
    node,
    { name: "a", children: [{ name: "bb", children: [], more: 1 }] },
    { name: "a", children: [{ name: "bb", children: [] }] },
    { name: 1, children: [{ name: 2, children: [] }] },
  ],
  "a lazy schema that holds itself": [
    lazyNode,
    { name: "a", next: { name: "bb", more: 1 } },
    { name: "a", next: { name: "bb" } },
    { name: 1, next: { name: 2 } },
  ],
};

test.each(Object.entries(cases))("%s is stored as the schema lets it through", (_name, example) => {
  const [schema, value, stored, handled = stored] = example;
  const form = read(schema, value);
  expect(form.ok && JSON.parse(JSON.stringify(form.stored))).toEqual(stored);
  expect(form.ok && form.value).toEqual(handled);
  expect(schema.parse(stored)).toEqual(handled);
  expect(() => defineJob({ type: "x", version: 1, payload: schema })).not.toThrow();
});

test("a generated default is stored, so that each attempt gets the same", () => {
  const form = read(z.object({ key: z.uuid().default(() => crypto.randomUUID()) }), {});
  expect(form).toMatchObject({ ok: true, stored: { key: expect.any(String) } });
  expect(form).toMatchObject({ value: form.ok && form.stored });
});

test.each([
  ["a preprocess that is not done after once", z.preprocess((n) => Number(n) * 2, z.number()), 1],
  ["an overwrite that goes on", z.string().overwrite((text) => `${text}!`), "a"],
])("%s is refused", (_name, schema, value) => {
  expect(read(schema, value)).toEqual({ ok: false, error: undefined });
});

test("a default that its own schema refuses is refused before it is stored", () => {
  const form = read(z.object({ n: z.number().min(5).default(1) }), {});
  expect(form.ok).toBe(false);
});

class Money {
  readonly cents = 1;
}

test.each([
  [z.object({ sentAt: z.date() }), "payload.sentAt", "z.iso.datetime()"],
  [z.object({ a: z.array(z.object({ n: z.bigint() })) }), "payload.a[].n", "z.coerce.bigint()"],
  [z.object({ m: z.map(z.string(), z.string()) }), "payload.m", "z.record()"],
  [z.object({ s: z.set(z.string()) }), "payload.s", "z.array()"],
  [z.record(z.string(), z.symbol()), "payload.*", "z.symbol()"],
  [z.tuple([z.string(), z.nan()]), "payload[1]", "z.null()"],
  [z.union([z.string(), z.file()]), "payload", "reference"],
  [z.object({ f: z.function() as unknown as z.ZodType }), "payload.f", "function"],
  [z.object({ f: z.promise(z.string()) }), "payload.f", "await"],
  [z.object({ price: z.instanceof(Money) }), "payload.price", "z.object()"],
  [z.array(z.string().optional()), "payload[]", ".nullable()"],
  [z.array(z.union([z.string(), z.undefined()])), "payload[]", ".nullable()"],
  [z.object({ n: z.literal([1n]) }), "payload.n", "z.bigint()"],
  [z.object({ at: z.date().transform((date) => date.getTime()) }), "payload.at", "z.date()"],
  [z.object({ at: z.date().optional().default(new Date(0)) }), "payload.at", "z.date()"],
  [z.lazy(() => z.date()), "payload", "z.date()"],
  [z.preprocess((value) => value, z.date()), "payload", "z.date()"],
])("defineJob refuses schema %#, with the path and the way out", (payload, path, way) => {
  const define = () => defineJob({ type: "x", version: 1, payload });
  expect(define).toThrow(
    expect.objectContaining({
      code: "invalid_definition",
      message: expect.stringContaining(`at ${path}: `),
      data: { field: "payload", type: "x", path },
    }),
  );
  expect(define).toThrow(way);
});

test("a result's schema is held to the same", () => {
  const options = { type: "x", version: 1, payload: id, result: z.object({ at: z.date() }) };
  expect(() => defineJob(options)).toThrow("Job x at result.at: z.date() is stored as text");
});
