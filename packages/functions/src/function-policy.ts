import { defined } from "@evenkeel/core";
import { JobError } from "@evenkeel/jobs";

/** How many runs of a function may be at work, in all or for each value of a key. */
export interface ConcurrencyPolicy {
  readonly limit: number;
  /** A CEL expression of the event; absent: the limit is on all runs. */
  readonly key?: string;
  readonly why: string;
}

/** A duration as Inngest reads it. */
type Duration = `${number}h` | `${number}m`;

/** What keeps a burst of events from becoming a burst of work, for one function. */
export interface FunctionPolicy {
  /** The function's id within its app. */
  readonly id: string;
  /** At most two, which is what Inngest takes. */
  readonly concurrency:
    | readonly [ConcurrencyPolicy]
    | readonly [ConcurrencyPolicy, ConcurrencyPolicy];
  /** Why there is no throttle, debounce or rate limit beside it. */
  readonly unpaced: string;
  /** The expression whose value starts one run in 24 hours. */
  readonly idempotency: { readonly key: string; readonly why: string };
  /** Tries after the first, of each step. */
  readonly retries: { readonly count: 2 | 4 | 12; readonly why: string };
  /** After which a run that waits, and one that has started, is cancelled. */
  readonly timeouts: {
    readonly start?: Duration;
    readonly finish: Duration;
    readonly why: string;
  };
}

/** The limits that a host sets. */
export interface PolicySettings {
  /** Concurrent process runs; defaults to 4. */
  readonly concurrency?: number;
  /** Isolated jobs at a time, of all tenants; defaults to 8. */
  readonly isolatedConcurrency?: number;
  /** Isolated jobs of one tenant at a time; defaults to 1. */
  readonly isolatedPerTenant?: number;
}

/** The functions of this package. */
export type FunctionName = "process" | "isolatedJob" | "maintenance" | "deadLetters";

/**
 * Returns the policy of each function: the one place that states it. The functions are made from it, and what the SDK
 * registers is held to it by a test.
 *
 * @throws JobError `invalid_options` when a limit is no whole number from 1.
 */
export function functionPolicies(
  settings: PolicySettings = {},
): Readonly<Record<FunctionName, FunctionPolicy>> {
  const { concurrency = 4, isolatedConcurrency = 8, isolatedPerTenant = 1 } = settings;
  for (const [field, value] of Object.entries({ isolatedConcurrency, isolatedPerTenant })) {
    if (Number.isInteger(value) && value >= 1) continue;
    throw new JobError("invalid_options", `${field} must be a whole number from 1; got ${value}.`, {
      field,
      value,
    });
  }
  const byEvent = {
    key: "event.id",
    why: "an id names one window or claim; the guard or the fence holds after 24 hours too",
  };
  return {
    process: {
      id: "process-background-jobs",
      concurrency: [
        {
          limit: concurrency,
          why: "a drain takes jobs of all tenants fairly, so more runs only add throughput",
        },
      ],
      unpaced:
        "the windows pace it: one event a window and lane, and one nudge a second at most; a debounce forgets event ids",
      idempotency: byEvent,
      retries: {
        count: 4,
        why: "a step that failed has settled what it ran; the next one drains what is left",
      },
      timeouts: {
        start: "1h",
        finish: "30m",
        why: "an hour later newer windows drain the same queue; a run drains for 60 s and goes on as another",
      },
    },
    isolatedJob: {
      id: "run-isolated-job",
      concurrency: [
        {
          limit: isolatedPerTenant,
          key: "event.data.tenantId",
          why: "a tenant's long jobs wait for each other, and no other tenant for them",
        },
        {
          limit: isolatedConcurrency,
          why: "many tenants at once do not take every worker and connection",
        },
      ],
      unpaced:
        "drains pace it: a job is delegated when it is claimed; a rate limit would drop jobs",
      idempotency: byEvent,
      retries: {
        count: 2,
        why: "for a host that is away; a failed attempt is the job's own to retry",
      },
      timeouts: {
        start: "6h",
        finish: "25h",
        why: "an unanswered request is repeated after 5 h 20 min at the latest; a job may take 24 h",
      },
    },
    maintenance: {
      id: "background-maintenance",
      concurrency: [{ limit: 1, why: "two would look at the same rows" }],
      unpaced: "the dispatcher paces it by its cadence; a debounce forgets event ids",
      idempotency: byEvent,
      retries: { count: 2, why: "the next maintenance does what is left" },
      timeouts: {
        start: "1h",
        finish: "10m",
        why: "an hour later another has begun; each step is bounded",
      },
    },
    deadLetters: {
      id: "file-dead-letters",
      concurrency: [
        {
          limit: 5,
          why: "an outage that ends many runs at once must not take the ledger's connections",
        },
      ],
      unpaced: "no failure may be dropped, and each waits its turn",
      idempotency: {
        key: "event.data.run_id",
        why: "a run ends once; the ledger keeps one open letter a run",
      },
      retries: { count: 12, why: "a letter is worth waiting for: about half a day of tries" },
      timeouts: {
        finish: "24h",
        why: "as long as its tries take; it may wait for its start as long as it must",
      },
    },
  };
}

/** What `createFunction` takes of a policy. */
export interface PolicyOptions {
  readonly id: string;
  readonly idempotency: string;
  readonly concurrency: [FunctionLimit] | [FunctionLimit, FunctionLimit];
  readonly retries: FunctionPolicy["retries"]["count"];
  readonly timeouts: { readonly start?: Duration; readonly finish: Duration };
}

interface FunctionLimit {
  readonly limit: number;
  readonly key?: string;
}

/** Returns a policy as options of `createFunction`. */
export function functionOptions(policy: FunctionPolicy): PolicyOptions {
  const { id, idempotency, retries, timeouts } = policy;
  const toLimit = ({ limit, key }: ConcurrencyPolicy): FunctionLimit => ({
    limit,
    ...defined({ key }),
  });
  const [first, second] = policy.concurrency;
  return {
    id,
    idempotency: idempotency.key,
    concurrency: second === undefined ? [toLimit(first)] : [toLimit(first), toLimit(second)],
    retries: retries.count,
    timeouts: { finish: timeouts.finish, ...defined({ start: timeouts.start }) },
  };
}
