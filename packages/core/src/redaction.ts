import { credentials, emailAddress, redacted, secretName, type Rule } from "./secret-patterns.ts";

/**
 * Returns a text without credentials and e-mail addresses: keys and tokens by their issuers' forms, passwords in
 * connection strings, bearer headers, event keys in URLs, and what follows a name such as `password=`. Ids, dispatch
 * keys and UUIDs stay. Redacting twice changes nothing, and the time grows with the text's length alone.
 */
export function redactText(text: string): string {
  return applyRules(text, [...credentials, emailAddress]);
}

/** Applies rules until nothing changes: one secret may hide that another begins where it ends. */
function applyRules(text: string, applied: readonly Rule[]): string {
  let clean = text;
  for (let round = 0; round < maxRounds; round += 1) {
    const before = clean;
    for (const [pattern, replacement] of applied) clean = clean.replace(pattern, replacement);
    if (clean === before) break;
  }
  return clean;
}

/** How often the rules are applied at most, so that the time stays bounded. */
const maxRounds = 8;

/** How deep a value is told; what lies deeper is left out. */
const maxDepth = 12;

/** A field by whose name its value is a credential. */
const secretField = new RegExp(`${secretName}s?$`, "iu");

/** A field that names a row, a window or a run. A person finds it by the whole text, an address in it included. */
const idField = /(?:^id|Ids?|[dD]ispatchKeys?|idempotencyKey|^scope)$/u;

/**
 * Returns a copy of a value as JSON can hold it, with every text in it redacted by {@link redactText}, and every text
 * under a name such as `password`. Fields that hold ids keep e-mail addresses: a tenant's id may be one. An error
 * becomes its name, message, code, stack and cause. It never throws; a cycle, a bigint or a getter that throws is named.
 */
export function redactValue(value: unknown): unknown {
  return redactAt(value, "", maxDepth, new Set());
}

function redactAt(value: unknown, name: string, depth: number, above: Set<object>): unknown {
  if (typeof value === "string") return redactField(value, name);
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth === 0) return "[deeper]";
  if (above.has(value)) return "[circular]";
  above.add(value);
  try {
    return redactObject(value, name, depth - 1, above);
  } catch {
    return "[failed to read]";
  } finally {
    above.delete(value);
  }
}

function redactField(text: string, name: string): string {
  if (secretField.test(name)) return redacted;
  return idField.test(name) ? applyRules(text, credentials) : redactText(text);
}

function redactObject(value: object, name: string, depth: number, above: Set<object>): unknown {
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (Array.isArray(value)) return value.map((item) => redactAt(item, name, depth, above));
  if ("toJSON" in value && typeof value.toJSON === "function") {
    return redactAt(value.toJSON(name), name, depth, above);
  }
  const fields = value instanceof Error ? readError(value) : value;
  return Object.fromEntries(
    Object.entries(fields).map(([field, item]) => [
      redactText(field),
      redactAt(item, field, depth, above),
    ]),
  );
}

/** An error's own fields are not enumerable: its message would be lost. */
function readError(error: Error): object {
  const { name, message, stack, cause } = error;
  return Object.assign({}, error, { name, message, stack }, cause === undefined ? {} : { cause });
}
