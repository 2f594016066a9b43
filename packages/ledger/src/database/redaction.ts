/** The longest error text kept in a row, in characters. */
const maxErrorLength = 4_000;

const secrets: readonly (readonly [RegExp, string])[] = [
  // Credentials inside a URL, as connection strings carry them.
  [/([a-z][a-z0-9+.-]{0,30}:\/\/)[^\s/@:]{1,300}(?::[^\s@]{0,300})?@/giu, "$1[redacted]@"],
  [/\b(bearer|basic)\s+[\w.~+/=-]+/giu, "$1 [redacted]"],
  [/\b(signkey-[a-z]+-)[\w-]+/giu, "$1[redacted]"],
  [
    /((?:api[-_]?key|secret|password|passwd|token|authorization)["']?\s*[:=]\s*["']?)[^\s"',;&]+/giu,
    "$1[redacted]",
  ],
];

/** Returns an error's text fit for a row or a log line: without credentials or NUL, and bounded. */
export function redactError(text: string): string {
  let clean = text.slice(0, maxErrorLength * 2).replaceAll("\u0000", "\uFFFD");
  for (const [pattern, replacement] of secrets) clean = clean.replace(pattern, replacement);
  return clean.slice(0, maxErrorLength).toWellFormed();
}

/** Returns the message of a recorded error without the worker's name, which the ledger's own message holds. */
export function hideWorker(message: string): string {
  return message.replace(
    /^The worker .* stopped renewing its lease\.$/su,
    "Its worker stopped renewing its lease.",
  );
}
