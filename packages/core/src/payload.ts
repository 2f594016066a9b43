import { z } from "zod";

import { InputError } from "./input-error.ts";

/** Any value that JSON can hold. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/** Accepts any JSON value; refuses `undefined`, functions, dates, NaN and infinities. */
export const jsonValueSchema: z.ZodType<JsonValue, JsonValue> = z.json();

/** The largest payload of an event or a job, in bytes of UTF-8 JSON: 512 KiB. */
export const maxPayloadBytes: number = 512 * 1024;

/** Matches text that Postgres can store as it is: without NUL and without half of a surrogate pair. */
// oxlint-disable-next-line no-control-regex -- NUL is what is refused
export const storableText: RegExp = /^[^\u0000\p{Surrogate}]*$/u;

const encoder = new TextEncoder();

/**
 * The JSON text of a payload, checked against {@link maxPayloadBytes}.
 *
 * @param value The payload, already parsed by its schema.
 * @param owner What carries it, for the message: `job inbound.process`.
 * @throws InputError `payload_too_large` with `bytes` and `limit`, or `invalid_payload` when the value
 * has no JSON form.
 */
export function encodePayload(value: unknown, owner: string): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw new InputError(
      "invalid_payload",
      `The payload of ${owner} has no JSON form. Remove cycles and bigints.`,
      { owner },
      { cause },
    );
  }
  if (text === undefined) {
    throw new InputError("invalid_payload", `The payload of ${owner} is undefined.`, { owner });
  }
  // A UTF-16 unit takes at most three bytes, so most payloads need no encoding to be judged.
  const bytes = text.length * 3 <= maxPayloadBytes ? text.length : encoder.encode(text).length;
  if (bytes > maxPayloadBytes) {
    throw new InputError(
      "payload_too_large",
      `The payload of ${owner} takes ${bytes} bytes; the limit is ${maxPayloadBytes}. Store it and pass a reference.`,
      { owner, bytes, limit: maxPayloadBytes },
    );
  }
  return text;
}

/** One line per problem, as `path: message`: names and reasons, never values. */
export function describeIssues(error: z.core.$ZodError): string[] {
  return error.issues.map((issue) => {
    const path = issue.path.map(String).join(".");
    return path === "" ? issue.message : `${path}: ${issue.message}`;
  });
}

/** The fields of an object that are not `undefined`, with their types kept. */
export type DefinedFields<Fields extends object> = {
  [Key in keyof Fields as undefined extends Fields[Key] ? never : Key]: Fields[Key];
} & {
  [Key in keyof Fields as undefined extends Fields[Key] ? Key : never]?: Exclude<
    Fields[Key],
    undefined
  >;
};

/** Returns a copy of an object without the fields that are `undefined`. */
export function defined<Fields extends object>(fields: Fields): DefinedFields<Fields> {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the filter is what the type says
  return Object.fromEntries(entries) as DefinedFields<Fields>;
}
