import { createHash, timingSafeEqual } from "node:crypto";

import type { Logger } from "@evenkeel/core";

import { jsonResponse } from "./json-response.ts";

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
  // A variable that is not set often arrives as an empty text, which must open nothing.
  const known = secrets.filter((secret) => secret !== "");
  if (known.length === 0) return "closed";
  const [, presented = ""] = /^Bearer (.+)$/iu.exec(authorization ?? "") ?? [];
  const digest = sha256(presented);
  let isKnown = false;
  // Every secret is compared, so that the time does not tell which one matched.
  for (const secret of known) isKnown = timingSafeEqual(digest, sha256(secret)) || isKnown;
  return isKnown ? "accepted" : "refused";
}

function sha256(text: string): Buffer {
  return createHash("sha256").update(text, "utf8").digest();
}

/** The shortest time between two lines of one kind, in milliseconds. */
const refusalPauseMs = 60_000;

/**
 * Answers requests that may not pass with 401, counts them, and logs the first at once and then one line a
 * minute at most: whoever guesses must not fill the log. Requests for a closed endpoint are told as sparsely.
 */
export class Refusals {
  readonly #options: { readonly route: string; readonly logger: Logger; clock: { now(): Date } };
  #refused = 0;
  #unlogged = 0;
  #loggedAtMs = Number.NEGATIVE_INFINITY;
  #closedAtMs = Number.NEGATIVE_INFINITY;

  /** `route` begins the lines' names: `cron.refused`, `cron.not_configured`. */
  constructor(options: { route: string; logger: Logger; clock: { now(): Date } }) {
    this.#options = options;
  }

  /** Returns the response. The line says what was presented, never the text itself. */
  refuse(authorization: string | null): Response {
    const { route, logger, clock } = this.#options;
    const nowMs = clock.now().getTime();
    this.#refused += 1;
    this.#unlogged += 1;
    if (isDue(this.#loggedAtMs, nowMs)) {
      const presented = describePresented(authorization);
      logger.warn(`${route}.refused`, {
        presented,
        refused: this.#refused,
        sinceLastLine: this.#unlogged,
      });
      this.#loggedAtMs = nowMs;
      this.#unlogged = 0;
    }
    return jsonResponse(401, { error: "unauthorized" }, { "www-authenticate": "Bearer" });
  }

  /** Says that the endpoint is closed, and which variable opens it. */
  close(missing: string): void {
    const { route, logger, clock } = this.#options;
    const nowMs = clock.now().getTime();
    if (!isDue(this.#closedAtMs, nowMs)) return;
    this.#closedAtMs = nowMs;
    logger.error(`${route}.not_configured`, { missing });
  }
}

/** Whether a line may follow. A clock that was set back must not silence the log. */
function isDue(loggedAtMs: number, nowMs: number): boolean {
  const pausedMs = nowMs - loggedAtMs;
  return pausedMs >= refusalPauseMs || pausedMs < 0;
}

function describePresented(authorization: string | null): string {
  if (authorization === null || authorization === "") return "nothing";
  return /^Bearer /iu.test(authorization) ? "an unknown secret" : "no bearer token";
}
