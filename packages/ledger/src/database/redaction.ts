import { redactText } from "@evenkeel/core";

/** The longest error text kept in a row, in characters. */
const maxErrorLength = 4_000;

/** What a cut may have left of a credential, which nothing would know for one, in characters. */
const maxRemainder = 1_000;

/** Returns an error's text fit for a row or a log line: without credentials or NUL, and bounded. */
export function redactError(text: string): string {
  return redactStart(text, maxErrorLength);
}

/** Returns the beginning of a text, redacted, of at most so many characters. */
export function redactStart(text: string, maxLength: number): string {
  const considered = maxLength + 4 * maxRemainder;
  let clean = redactText(text.slice(0, considered));
  if (text.length > considered) clean = clean.slice(0, Math.max(0, clean.length - maxRemainder));
  return clean.slice(0, maxLength).replaceAll("\u0000", "\uFFFD").toWellFormed();
}

/** Returns the message of a recorded error without the worker's name, which the ledger's own message holds. */
export function hideWorker(message: string): string {
  return message.replace(
    /^The worker .* stopped renewing its lease\.$/su,
    "Its worker stopped renewing its lease.",
  );
}
