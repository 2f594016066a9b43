import { defineJob, handleJob, type JobDefinition, type JobHandler } from "@evenkeel/jobs";
import { z } from "zod";

const invoicePayload: z.ZodObject<{ invoiceId: z.ZodString }> = z.object({ invoiceId: z.string() });

/** The job of the repository's README. */
export const sendInvoice: JobDefinition<typeof invoicePayload> = defineJob({
  type: "invoice.send",
  version: 1,
  payload: invoicePayload,
  unique: ({ invoiceId }) => invoiceId,
});

/** The invoices that were sent, in order. */
export const sentInvoices: string[] = [];

/**
 * Its handler, whose mailer is a list.
 *
 * @public The README's host imports it.
 */
export const sendInvoices: JobHandler = handleJob(sendInvoice, async ({ payload }) => {
  sentInvoices.push(payload.invoiceId);
});
