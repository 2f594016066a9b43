import { defined, describeMessage, EvenkeelError, withDeadline, type Logger } from "@evenkeel/core";
import { redactError } from "@evenkeel/ledger";

/** How long a tick waits for a migration that is under way, in milliseconds. */
const longestWaitMs = 5_000;

/**
 * A migration at a host's start that takes nothing along: whoever begins it goes on at once. What fails is logged, and
 * tried again at each later use, until it has succeeded.
 */
export class StartMigration {
  readonly #migrate: () => Promise<unknown>;
  readonly #logger: Logger;
  #isWanted: boolean;
  #underWay: Promise<void> | undefined;

  /** `isWanted`: the first use begins it, if nobody has before. */
  constructor(migrate: () => Promise<unknown>, isWanted: boolean, logger: Logger) {
    this.#isWanted = isWanted;
    this.#migrate = migrate;
    this.#logger = logger;
  }

  begin(): void {
    this.#isWanted = true;
    void this.#attempt();
  }

  /** Begins it where it is wanted, and tries again where it has failed. */
  retry(): void {
    if (this.#isWanted) void this.#attempt();
  }

  /** As `retry`, and waits for it a while. Never rejects: the ledger says by itself what it lacks. */
  async retryAndWait(): Promise<void> {
    if (this.#isWanted) await withDeadline(longestWaitMs, () => this.#attempt()).catch(() => {});
  }

  #attempt(): Promise<void> {
    this.#underWay ??= this.#run().finally(() => {
      this.#underWay = undefined;
    });
    return this.#underWay;
  }

  async #run(): Promise<void> {
    try {
      await this.#migrate();
      this.#isWanted = false;
    } catch (error) {
      const code = error instanceof EvenkeelError ? error.code : undefined;
      this.#logger.warn("background.not_migrated", {
        ...defined({ code }),
        error: redactError(describeMessage(error)),
      });
    }
  }
}
