import type { Page } from "../database/page.ts";
import { hideWorker } from "../database/redaction.ts";
import type { Scope } from "../database/tenant-scope.ts";
import {
  createScopedDeadLetters,
  type DeadLetterFilter,
  type DeadLetterRecord,
} from "./dead-letter-records.ts";

/** What an attempt of dead work left behind, as its tenant sees it. A job's has a code and a message, a run's an error. */
export interface TenantFailedAttempt {
  readonly attempt?: number;
  readonly at?: string;
  readonly code?: string;
  readonly message?: string;
  readonly error?: string | null;
}

/** A dead letter as its tenant sees it: without stacks, and the names of workers and of who decided about it. */
export interface TenantDeadLetterRecord extends Omit<DeadLetterRecord, "history" | "resolvedBy"> {
  readonly history: readonly TenantFailedAttempt[];
}

/** A tenant's dead letters. */
export interface TenantDeadLetters {
  find(id: string): Promise<TenantDeadLetterRecord | undefined>;
  /** The newest first. */
  list(filter?: DeadLetterFilter & Page): Promise<TenantDeadLetterRecord[]>;
}

/** Returns the dead letters of a tenant's scope. */
export function createTenantDeadLetters(scope: Scope): TenantDeadLetters {
  const letters = createScopedDeadLetters(scope);
  return {
    find: async (id) => {
      const letter = await letters.find(id);
      return letter === undefined ? undefined : toTenantLetter(letter);
    },
    list: async (filter) => (await letters.list(filter)).map(toTenantLetter),
  };
}

function toTenantLetter({
  resolvedBy: _resolvedBy,
  history,
  ...letter
}: DeadLetterRecord): TenantDeadLetterRecord {
  return { ...letter, history: history.map(toTenantAttempt) };
}

/** Only what is named here is shown: hosts may file whatever they know. */
function toTenantAttempt(entry: unknown): TenantFailedAttempt {
  const { attempt, at, code, message, error } = fieldsOf(entry);
  return {
    ...(typeof attempt === "number" ? { attempt } : {}),
    ...(typeof at === "string" ? { at } : {}),
    ...(typeof code === "string" ? { code } : {}),
    ...(typeof message === "string" ? { message: hideWorker(message) } : {}),
    ...(typeof error === "string" || error === null ? { error } : {}),
  };
}

function fieldsOf(entry: unknown): Readonly<Record<string, unknown>> {
  return typeof entry === "object" && entry !== null ? { ...entry } : {};
}
