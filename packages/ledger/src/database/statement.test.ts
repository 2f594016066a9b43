import { expect, test } from "vitest";

import { defineStatement } from "./statement.ts";

test("names become numbers in the order of their first use, and a name keeps its number", () => {
  const statement = defineStatement<"lane" | "limit">(
    `SELECT :limit::int WHERE lane = :lane::evenkeel.lane AND :limit::int > 0`,
  );
  expect(statement.text).toBe(`SELECT $1::int WHERE lane = $2::evenkeel.lane AND $1::int > 0`);
  expect(statement.values({ lane: "stable", limit: 3 })).toEqual([3, "stable"]);
});

test("an apostrophe in a comment hides no name behind it", () => {
  const statement = defineStatement<"limit">(
    `SELECT 1 -- the tenant's :share\nLIMIT :limit::int -- that's all`,
  );
  expect(statement.text).toBe(`SELECT 1 -- the tenant's :share\nLIMIT $1::int -- that's all`);
});

test("casts, quoted text and the tenant's condition are left alone", () => {
  const text = `SELECT to_char(now(), 'HH24:mi:ss')::text WHERE :tenant(job.tenant_id)`;
  expect(defineStatement(text).text).toBe(text);
});

test("a name ends where its word ends, digits and underscores among it", () => {
  const statement = defineStatement<"limit" | "limits" | "limit2" | "lease_ms">(
    `SELECT :limit, :limits, :limit2, :lease_ms, :limit::int[]`,
  );
  expect(statement.text).toBe(`SELECT $1, $2, $3, $4, $1::int[]`);
});

test.each([
  `SELECT 1 /* the tenant's :share */`,
  `SELECT $$ it's :share $$, $body$ $1 :share $body$`,
  `SELECT job."a:share", 'it''s :share', 'a -- b', '$.a ? (@ > 1 && @.b == ":share")'::jsonpath`,
])("%s holds no parameter", (text) => {
  expect(defineStatement(text).text).toBe(text);
});

test("a numbered parameter beside names would be another's, and is refused", () => {
  expect(() => defineStatement(`SELECT :limit::int, $1::text`)).toThrow("$1 has no name");
});

test("a parameter without a value is named", () => {
  const statement = defineStatement(`SELECT :limit::int`);
  expect(() => statement.values({})).toThrow(":limit is missing");
});
