import { defined } from "@evenkeel/core";
import { parseBackgroundConfig, type BackgroundConfig } from "@evenkeel/dispatch";

/** Parses the web host's environment. @throws DispatchError `invalid_configuration` with every problem at once. */
export function readConfig(): BackgroundConfig {
  return parseBackgroundConfig(process.env, {
    now: new Date(),
    required: ["DATABASE_URL"],
    servesFunctions: true,
    hostName: "web",
  });
}

/**
 * When something waits for repair, by the worker's own variables: a tick asks for maintenance at once then. Unset, or no
 * whole number, which the worker reports: the defaults of both.
 */
export function readRepairTimes(): {
  readonly neverStartedAfterMs?: number;
  readonly staleAfterMs?: number;
} {
  return defined({
    neverStartedAfterMs: readSeconds("WORKER_REPAIR_AFTER_SECONDS"),
    staleAfterMs: readSeconds("WORKER_STALE_AFTER_SECONDS"),
  });
}

function readSeconds(name: string): number | undefined {
  const text = (process.env[name] ?? "").trim();
  return /^[1-9]\d{0,5}$/u.test(text) ? Number(text) * 1_000 : undefined;
}
