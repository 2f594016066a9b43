import { defineJob, exponential, type JobDefinition } from "@evenkeel/jobs";
import { z } from "zod";

/** The longest id of a message; it is the unique key of the message's jobs, and the queue takes no longer one. */
export const maxMessageIdLength = 400;

const messagePayload: z.ZodObject<{ messageId: z.ZodString }> = z.object({
  messageId: z.string().min(1).max(maxMessageIdLength),
});

/** A job about one message of its tenant. Bodies stay in the tables; a payload names the row. */
export type MessageJob = JobDefinition<typeof messagePayload>;

const shared = {
  version: 1,
  payload: messagePayload,
  retry: exponential({ maxAttempts: 5, baseMs: 500, maxMs: 10_000 }),
  timeoutMs: 20_000,
  unique: ({ messageId }: { messageId: string }) => messageId,
};

/** Parses, threads and classifies a message; asks for a draft if it is to be answered. */
export const inboundProcess: MessageJob = defineJob({ ...shared, type: "inbound.process" });

/** Writes the draft of a reply, and asks for it to be sent after the reply delay. */
export const draftCreate: MessageJob = defineJob({ ...shared, type: "draft.create" });

/** Sends a drafted reply, once. */
export const replySend: MessageJob = defineJob({ ...shared, type: "reply.send" });
