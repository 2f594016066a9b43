import { createHash } from "node:crypto";

import { RetryAfterError, TerminalError } from "@evenkeel/jobs";

import type { Drafter } from "./drafter.ts";
import type { Mailer } from "./mailer.ts";

/** Which share of messages meets which trouble, 0 to 1. The same messages every time. */
export interface FaultShares {
  /** Drafts whose first attempt fails. */
  readonly drafterOverloaded: number;
  /** Replies whose mailbox does not exist. */
  readonly mailboxGone: number;
}

/** A number from 0 up to 1 that depends on the message and the purpose alone. */
function chance(purpose: string, tenantId: string, messageId: string): number {
  const digest = createHash("sha256").update(`${purpose}|${tenantId}|${messageId}`).digest();
  return digest.readUInt32BE(0) / 2 ** 32;
}

/** A drafter that is overloaded at times: half of its failures say how long to wait. */
export function overloadedDrafter(drafter: Drafter, shares: FaultShares): Drafter {
  return {
    draft: async (request) => {
      const value = chance("draft", request.tenantId, request.messageId);
      if (request.attempt === 1 && value < shares.drafterOverloaded) {
        if (value < shares.drafterOverloaded / 2)
          throw new RetryAfterError("Overloaded.", { delayMs: 1_500 });
        throw new Error("The drafter did not respond.");
      }
      return drafter.draft(request);
    },
  };
}

/** A mailer some of whose recipients are gone for good. */
export function unreachableMailer(mailer: Mailer, shares: FaultShares): Mailer {
  return {
    deliver: async (tx, reply) => {
      if (chance("mailbox", reply.tenantId, reply.messageId) < shares.mailboxGone) {
        throw new TerminalError("550 5.1.1 The recipient's mailbox does not exist.");
      }
      await mailer.deliver(tx, reply);
    },
  };
}
