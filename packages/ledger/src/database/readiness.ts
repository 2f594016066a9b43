import type { Logger } from "@evenkeel/core";

import { migrations } from "../generated/migrations.ts";
import type { Connections } from "./connections.ts";
import type { SqlClient } from "./database.ts";
import { markEnvironment } from "./environment-mark.ts";
import { isNotReady, notMigrated } from "./ledger-error.ts";
import { compareSchema, newerDatabase, readSchemaState } from "./schema-version.ts";

/** What {@link Readiness} works with. */
export interface ReadinessOptions {
  readonly connections: Connections;
  /** Whose ledger it has to be; absent: anybody's. */
  readonly environment: string | undefined;
  readonly logger: Logger;
}

/** The bound of each statement of a check, in milliseconds. */
const checkTimeoutMs = 5_000;

/**
 * Whether this build can work on the database: all of its migrations are applied, no newer one is beyond it, and the
 * ledger is of its environment. It is asked once, before the first statement, and then costs nothing. After a statement
 * that failed for its tables or rights, it is asked again.
 */
export class Readiness {
  readonly #options: ReadinessOptions;
  #isGood = false;
  #underWay: Promise<void> | undefined;
  #hasToldNewer = false;

  constructor(options: ReadinessOptions) {
    this.#options = options;
  }

  /**
   * Looks now, on the given connections or the ledger's own.
   *
   * @throws LedgerError `not_migrated`, `not_granted`, `newer_database` or `wrong_environment`; what the network reports.
   */
  async check(connections: Connections = this.#options.connections): Promise<void> {
    try {
      const timeoutMs = connections === this.#options.connections ? checkTimeoutMs : undefined;
      await connections.hold((sql) => this.#look(sql), timeoutMs);
      this.#isGood = true;
    } catch (error) {
      // What cannot be asked says nothing of the answer.
      if (isNotReady(error)) this.#isGood = false;
      throw error;
    }
  }

  /** Returns the ledger's connections, for statements that are made only while this is good. */
  guard(): Connections {
    const { connections } = this.#options;
    const guarded = async <Result>(work: () => Promise<Result>): Promise<Result> => {
      if (!this.#isGood) await this.#checkOnce();
      try {
        return await work();
      } catch (error) {
        if (isNotReady(error)) this.#isGood = false;
        throw error;
      }
    };
    return {
      query: (text, values, timeoutMs) => guarded(() => connections.query(text, values, timeoutMs)),
      hold: (work, timeoutMs) => guarded(() => connections.hold(work, timeoutMs)),
    };
  }

  /** Statements that come at once wait for one check. */
  async #checkOnce(): Promise<void> {
    this.#underWay ??= this.check().finally(() => {
      this.#underWay = undefined;
    });
    await this.#underWay;
  }

  async #look(sql: SqlClient): Promise<void> {
    const { environment, logger } = this.#options;
    const { pending, unknown, barrier } = compareSchema(await readSchemaState(sql), migrations);
    if (barrier !== undefined) throw newerDatabase(barrier, migrations);
    if (pending.length > 0) throw notMigrated({ pending: pending.map(({ name }) => name) });
    if (environment !== undefined) await markEnvironment(sql, environment);
    if (unknown.length === 0 || this.#hasToldNewer) return;
    this.#hasToldNewer = true;
    logger.warn("ledger.newer_schema", { unknown });
  }
}
