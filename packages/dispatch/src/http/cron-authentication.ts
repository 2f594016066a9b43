import { createHash, timingSafeEqual } from "node:crypto";

/** Whether a tick may pass; `closed`: no secret is configured. */
export type Authentication = "accepted" | "refused" | "closed";

/**
 * Checks `Authorization: Bearer <secret>` against the current and the previous secret. The time it takes
 * depends on neither. Without a configured secret the endpoint is closed.
 */
export function authenticate(
  authorization: string | null,
  secrets: readonly string[],
): Authentication {
  if (secrets.length === 0) return "closed";
  const [, presented = ""] = /^Bearer (.+)$/iu.exec(authorization ?? "") ?? [];
  const digest = sha256(presented);
  let isKnown = false;
  // Every secret is compared, so that the time does not tell which one matched.
  for (const secret of secrets) isKnown = timingSafeEqual(digest, sha256(secret)) || isKnown;
  return isKnown ? "accepted" : "refused";
}

function sha256(text: string): Buffer {
  return createHash("sha256").update(text, "utf8").digest();
}
