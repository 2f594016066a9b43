import { z } from "zod";

import { InputError } from "./input-error.ts";
import { storableText } from "./payload.ts";

/** The longest tenant id, in UTF-16 units. */
export const maxTenantIdLength: number = 200;

/** A tenant's id: 1 to 200 characters, none of them NUL or half of a surrogate pair (Postgres text can hold neither). */
export const tenantIdSchema: z.ZodString = z
  .string()
  .min(1)
  .max(maxTenantIdLength)
  .regex(storableText, "must not contain NUL or half of a surrogate pair");

/**
 * Checks a tenant id.
 *
 * @throws InputError `invalid_tenant`; the message gives the length, never the id.
 */
export function parseTenantId(value: unknown): string {
  const result = tenantIdSchema.safeParse(value);
  if (result.success) return result.data;
  const length = typeof value === "string" ? value.length : null;
  throw new InputError(
    "invalid_tenant",
    length === null
      ? `A tenant id must be a string of 1 to ${maxTenantIdLength} characters; got ${typeof value}.`
      : `A tenant id must have 1 to ${maxTenantIdLength} characters, no NUL and no half of a surrogate pair; got ${length} characters.`,
    { length },
  );
}
