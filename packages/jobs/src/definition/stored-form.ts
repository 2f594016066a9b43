import { isDeepStrictEqual } from "node:util";

import { z } from "zod";
import type { $ZodType } from "zod/v4/core";

import { asKnown, isTransform, readLazy, type SchemaTraits } from "./json-schema-check.ts";

/** The outcome of {@link readStoredForm}. */
export type StoredForm<Schema extends z.ZodType> =
  | {
      readonly ok: true;
      /** What is to be stored. Parsing its JSON gives `value`. */
      readonly stored: unknown;
      /** What the handler will be given. */
      readonly value: z.output<Schema>;
    }
  | { readonly ok: false; readonly error: z.ZodError }
  /** It would be read as something else than what was checked. */
  | { readonly ok: false; readonly error: undefined };

/**
 * What is stored of a value: what its schema lets through, in a form that the schema reads again.
 *
 * - Without a transform that is the schema's output: unknown keys dropped, defaults filled in, coerced.
 * - Where a part has a transform, a pipe or a codec, it is what the schema lets through on its input side, since the
 *   handler's parse does that part again.
 * - Of `z.preprocess()` it is what comes out of the function, which must leave that as it is.
 *
 * @param json A value as JSON has it.
 */
export function readStoredForm<Schema extends z.ZodType>(
  schema: Schema,
  traits: SchemaTraits,
  json: unknown,
): StoredForm<Schema> {
  const parsed = schema.safeParse(json);
  if (!parsed.success) return { ok: false, error: parsed.error };
  if (traits.isPlain) return { ok: true, stored: parsed.data, value: parsed.data };
  const stored = throughJson(project(schema, traits, json));
  const again = schema.safeParse(stored);
  if (!again.success) return { ok: false, error: again.error };
  const isSteady = isDeepStrictEqual(throughJson(project(schema, traits, stored)), stored);
  if (!isSteady) return { ok: false, error: undefined };
  return { ok: true, stored, value: again.data };
}

function throughJson(value: unknown): unknown {
  const text: string | undefined = JSON.stringify(value);
  return text === undefined ? undefined : JSON.parse(text);
}

/** What one part of a schema lets through, of a value that the whole schema has accepted. */
function project(schema: $ZodType, traits: SchemaTraits, value: unknown): unknown {
  const into = (part: $ZodType, inner: unknown): unknown => project(part, traits, inner);
  if (!traits.transforming.has(schema)) return outputOf(schema, value);
  const { def } = asKnown(schema)._zod;
  // oxlint-disable-next-line typescript/switch-exhaustiveness-check -- what is left holds no schema
  switch (def.type) {
    case "object":
      return isRecord(value) ? projectFields(def.shape, def.catchall, value, into) : value;
    case "array":
      return Array.isArray(value) ? value.map((item) => into(def.element, item)) : value;
    case "tuple":
      return Array.isArray(value)
        ? value.map((item, n) => into(def.items[n] ?? def.rest ?? z.never(), item))
        : value;
    case "record":
      return isRecord(value)
        ? fromEntries(
            Object.entries(value).map(([key, inner]) => [
              key,
              // A loose record hands other keys on as they are.
              accepts(def.keyType, key) ? into(def.valueType, inner) : inner,
            ]),
          )
        : value;
    case "union": {
      const option = def.options.find((each) => accepts(each, value));
      return option === undefined ? undefined : into(option, value);
    }
    case "intersection":
      return merge(into(def.left, value), into(def.right, value));
    case "pipe":
      return isTransform(def.in) ? into(def.out, outputOf(def.in, value)) : into(def.in, value);
    case "lazy":
      return into(readLazy(schema), value);
    case "prefault":
      return into(def.innerType, value === undefined ? def.defaultValue : value);
    case "optional":
    case "default":
    case "nonoptional":
    case "readonly":
    case "success":
      return value === undefined ? undefined : into(def.innerType, value);
    case "nullable":
      return value === null ? null : into(def.innerType, value);
    case "catch":
      // What is caught is caught again.
      return accepts(def.innerType, value) ? into(def.innerType, value) : undefined;
    case "bigint":
      return String(outputOf(schema, value));
    default:
      return outputOf(schema, value);
  }
}

/** The known fields, and others where the schema lets them through. */
function projectFields(
  shape: Readonly<Record<string, $ZodType>>,
  catchall: $ZodType | undefined,
  value: Readonly<Record<string, unknown>>,
  into: (part: $ZodType, inner: unknown) => unknown,
): Record<string, unknown> {
  const known = Object.entries(shape).map(([key, part]) => [
    key,
    into(part, Object.hasOwn(value, key) ? value[key] : undefined),
  ]);
  const others = Object.entries(value).filter(([key]) => !Object.hasOwn(shape, key));
  const kept =
    catchall === undefined ? [] : others.map(([key, inner]) => [key, into(catchall, inner)]);
  return fromEntries([...known, ...kept]);
}

function outputOf(schema: $ZodType, value: unknown): unknown {
  const parsed = z.safeParse(schema, value);
  return parsed.success ? parsed.data : undefined;
}

function accepts(schema: $ZodType, value: unknown): boolean {
  return z.safeParse(schema, value).success;
}

/** Both sides of an intersection: what either lets through. */
function merge(left: unknown, right: unknown): unknown {
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.map((item, n) => merge(item, right[n]));
  }
  if (!isRecord(left) || !isRecord(right)) return left;
  const keys = new Set([...Object.keys(left), ...Object.keys(right)]);
  return fromEntries(
    [...keys].map((key) => [
      key,
      key in left && key in right ? merge(left[key], right[key]) : (left[key] ?? right[key]),
    ]),
  );
}

function fromEntries(entries: readonly (readonly unknown[])[]): Record<string, unknown> {
  return Object.fromEntries(entries.map(([key, value]) => [String(key), value]));
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
