import type { JobHandler } from "@evenkeel/jobs";
import type { Pool } from "pg";

import { createDraft } from "./create-draft.ts";
import { templateDrafter, type Drafter } from "./drafter.ts";
import { ingestMessages, type InboundMessage, type IngestResult } from "./ingest.ts";
import { tableMailer, type Mailer } from "./mailer.ts";
import { processInbound } from "./process-inbound.ts";
import { readInboxReport, type InboxReport } from "./report.ts";
import { prepareTables } from "./schema.ts";
import { sendReply } from "./send-reply.ts";
import { overloadedDrafter, unreachableMailer, type FaultShares } from "./simulated-faults.ts";

/** What {@link createInbox} works with. */
export interface InboxOptions {
  /** The product's pool, on the database that holds the ledger too. */
  readonly pool: Pool;
  /** How long a reply waits before it is sent, 60,000 ms by default. */
  readonly replyDelayMs?: number;
  readonly drafter?: Drafter;
  readonly mailer?: Mailer;
  /** Troubles to simulate; none by default. */
  readonly faults?: FaultShares;
}

/** The sample product. */
export interface Inbox {
  /** Handlers of its three kinds of job, for a runner. */
  readonly handlers: readonly JobHandler[];
  /** Creates its tables. */
  prepare(): Promise<void>;
  /**
   * Stores messages and enqueues their processing in one transaction.
   *
   * @throws InboxError `invalid_message`; nothing is stored then.
   */
  ingest(messages: readonly InboundMessage[]): Promise<IngestResult>;
  /** Counts what became of every message, in one snapshot. Needs the ledger's tables. */
  report(): Promise<InboxReport>;
}

const noFaults: FaultShares = { drafterOverloaded: 0, mailboxGone: 0 };

/** Creates the sample product: inbound e-mail → draft → reply, as three kinds of job. */
export function createInbox(options: InboxOptions): Inbox {
  const { pool, replyDelayMs = 60_000, faults = noFaults } = options;
  const drafter = overloadedDrafter(options.drafter ?? templateDrafter, faults);
  const mailer = unreachableMailer(options.mailer ?? tableMailer, faults);
  return {
    handlers: [
      processInbound({ pool }),
      createDraft({ pool, drafter, replyDelayMs }),
      sendReply({ pool, mailer }),
    ],
    prepare: () => prepareTables(pool),
    ingest: (messages) => ingestMessages(pool, messages),
    report: () => readInboxReport(pool),
  };
}
