import type { $ZodLazy, $ZodType, $ZodTypes } from "zod/v4/core";

import { JobError } from "../job-error.ts";

/** What a schema does to what it parses, found out once per schema. */
export interface SchemaTraits {
  /** Whether it hands on what it was given, less unknown keys: no transform, default, coercion or change anywhere. */
  readonly isPlain: boolean;
  /** The schemas in it whose output need not be their input, and those that lie around them. */
  readonly transforming: ReadonlySet<$ZodType>;
}

/** Why a schema's values do not come back from JSON as the schema has them, and what to write instead. */
const ways: Readonly<Record<string, string>> = {
  date: "z.date() is stored as text; use z.iso.datetime(), or z.coerce.date() to be handed a Date",
  bigint: "z.bigint() has no JSON form; use z.string(), or z.coerce.bigint() to be handed a bigint",
  map: "z.map() is stored as {}; use z.record(), or an array of pairs",
  set: "z.set() is stored as {}; use z.array()",
  symbol: "z.symbol() has no JSON form; use z.string() or z.enum()",
  nan: "z.nan() is stored as null; use z.null()",
  file: "z.file() has no JSON form; store the file, and pass a reference to it",
  function: "a function has no JSON form; pass what the handler needs to call it",
  promise: "z.promise() has no JSON form; await the value before you pass it",
  class: "an instance of a class is stored as its fields; use z.object()",
  absent: "undefined is stored as null in an array; use .nullable(), or leave the element out",
};

/**
 * Reads what a schema is made of. What an instance of `.transform()`, `.pipe()` or a codec gives is not stored, so only
 * its input side is read.
 *
 * @param root What the schema is of, which begins the path: `payload`.
 * @throws JobError `invalid_definition` with the path when a value could not be read again after it was stored.
 */
export function checkJsonSchema(schema: $ZodType, type: string, root: string): SchemaTraits {
  const transforming = new Set<$ZodType>();
  const seen = new Map<$ZodType, boolean>();
  let isPlain = true;

  function refuse(path: string, way: string): never {
    throw new JobError("invalid_definition", `Job ${type} at ${path}: ${ways[way] ?? way}.`, {
      field: root,
      type,
      path,
    });
  }

  /** Returns whether it is, or holds, a schema whose output need not be its input. */
  function read(part: $ZodType, path: string): boolean {
    const known = seen.get(part);
    if (known !== undefined) return known;
    // Until it is read: one that holds itself is taken apart.
    seen.set(part, true);
    const isTransforming = readParts(part, path);
    seen.set(part, isTransforming);
    if (isTransforming) transforming.add(part);
    return isTransforming;
  }

  function readAll(parts: readonly (readonly [$ZodType, string])[]): boolean {
    return parts.map(([part, path]) => read(part, path)).some(Boolean);
  }

  function readParts(part: $ZodType, path: string): boolean {
    const { def } = asKnown(part)._zod;
    if (isChanging(part)) isPlain = false;
    // oxlint-disable-next-line typescript/switch-exhaustiveness-check -- what is left holds no schema and comes back from JSON
    switch (def.type) {
      case "object": {
        const fields = Object.entries(def.shape).map(
          ([key, field]) => [field, `${path}.${key}`] as const,
        );
        return readAll(
          def.catchall === undefined ? fields : [...fields, [def.catchall, `${path}.*`]],
        );
      }
      case "array":
        if (isAbsentable(def.element)) refuse(`${path}[]`, "absent");
        return read(def.element, `${path}[]`);
      case "tuple": {
        const items = def.items.map((item, n) => [item, `${path}[${n}]`] as const);
        return readAll(def.rest === null ? items : [...items, [def.rest, `${path}[]`]]);
      }
      case "record":
        return readAll([
          [def.keyType, `${path} (key)`],
          [def.valueType, `${path}.*`],
        ]);
      case "union":
        return readAll(def.options.map((option) => [option, path] as const));
      case "intersection":
        return readAll([
          [def.left, path],
          [def.right, path],
        ]);
      case "pipe":
        read(def.in, path);
        // What .preprocess() makes is what is stored.
        if (isTransform(def.in)) read(def.out, path);
        return true;
      case "lazy":
        return read(readLazy(part), path);
      case "optional":
      case "nullable":
      case "nonoptional":
      case "readonly":
      case "default":
      case "prefault":
      case "catch":
        return read(def.innerType, path);
      case "success":
        read(def.innerType, path);
        return true;
      case "transform":
        return true;
      case "date":
        return def.coerce === true ? false : refuse(path, def.type);
      case "bigint":
        return def.coerce === true ? true : refuse(path, def.type);
      case "literal":
        return def.values.some((value) => typeof value === "bigint")
          ? refuse(path, "bigint")
          : false;
      case "custom":
        return "Class" in part._zod.bag ? refuse(path, "class") : false;
      case "map":
      case "set":
      case "symbol":
      case "nan":
      case "file":
      case "function":
      case "promise":
        return refuse(path, def.type);
      default:
        return false;
    }
  }

  read(schema, root);
  return { isPlain: isPlain && transforming.size === 0, transforming };
}

/** Returns whether a schema's first step is a function: `z.preprocess()`. */
export function isTransform(schema: $ZodType): boolean {
  return schema._zod.def.type === "transform";
}

/** A schema as one of those that zod has, to switch over; another kind is met by the default of the switch. */
export function asKnown(schema: $ZodType): $ZodTypes {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- zod's own toJSONSchema does the same
  return schema as $ZodTypes;
}

/** The schema that a `z.lazy()` stands for: one and the same each time, other than that of its getter. */
export function readLazy(schema: $ZodType): $ZodType {
  const known = asKnown(schema);
  return isLazy(known) ? known._zod.innerType : schema;
}

function isLazy(schema: $ZodTypes): schema is $ZodLazy {
  return schema._zod.def.type === "lazy";
}

/** Whether it fills in, coerces or overwrites (`trim`) what it is given. */
function isChanging(schema: $ZodType): boolean {
  const { type, checks } = schema._zod.def;
  return (
    ["default", "prefault", "catch"].includes(type) ||
    ("coerce" in schema._zod.def && schema._zod.def.coerce === true) ||
    checks?.some(({ _zod }) => _zod.def.check === "overwrite") === true
  );
}

/** Whether it admits `undefined` and refuses the `null` that JSON has for it in an array. */
function isAbsentable(schema: $ZodType): boolean {
  const { def } = asKnown(schema)._zod;
  if (def.type === "undefined" || def.type === "void") return true;
  if (def.type === "union") {
    const options = def.options.map((option) => asKnown(option)._zod.def.type);
    return !options.some(isNullish) && def.options.some(isAbsentable);
  }
  return def.type === "optional" && !isNullish(asKnown(def.innerType)._zod.def.type);
}

function isNullish(type: string): boolean {
  return ["nullable", "null", "any", "unknown"].includes(type);
}
