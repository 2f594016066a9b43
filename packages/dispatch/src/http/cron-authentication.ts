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

/** The shortest time between two lines about refused requests, in milliseconds. */
const refusalPauseMs = 60_000;

/**
 * Answers requests that may not pass with 401, counts them, and logs the first at once and then one line a
 * minute at most: whoever guesses must not fill the log.
 */
export class Refusals {
  readonly #options: { readonly event: string; readonly logger: Logger; clock: { now(): Date } };
  #refused = 0;
  #unlogged = 0;
  #loggedAtMs = Number.NEGATIVE_INFINITY;

  /** `event` names the line: `cron.refused`. */
  constructor(options: { event: string; logger: Logger; clock: { now(): Date } }) {
    this.#options = options;
  }

  /** Returns the response. The line says what was presented, never the text itself. */
  refuse(authorization: string | null): Response {
    const { event, logger, clock } = this.#options;
    const nowMs = clock.now().getTime();
    this.#refused += 1;
    this.#unlogged += 1;
    const pausedMs = nowMs - this.#loggedAtMs;
    // A clock that was set back must not silence the log.
    if (pausedMs >= refusalPauseMs || pausedMs < 0) {
      const presented = describePresented(authorization);
      logger.warn(event, { presented, refused: this.#refused, sinceLastLine: this.#unlogged });
      this.#loggedAtMs = nowMs;
      this.#unlogged = 0;
    }
    return jsonResponse(401, { error: "unauthorized" }, { "www-authenticate": "Bearer" });
  }
}

function describePresented(authorization: string | null): string {
  if (authorization === null || authorization === "") return "nothing";
  return /^Bearer /iu.test(authorization) ? "an unknown secret" : "no bearer token";
}
