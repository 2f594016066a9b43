export {
  classify,
  isAnswered,
  mailClasses,
  type ClassifiedMail,
  type MailClass,
} from "./classify.ts";
export { templateDrafter, type Draft, type Drafter, type DraftRequest } from "./drafter.ts";
export { InboxError, type InboxErrorCode } from "./inbox-error.ts";
export { createInbox, type Inbox, type InboxOptions } from "./inbox.ts";
export { ingestInTransaction, type InboundMessage, type IngestResult } from "./ingest.ts";
export { draftCreate, inboundProcess, replySend, type MessageJob } from "./jobs.ts";
export { parseMail, type Mail } from "./mail.ts";
export { tableMailer, type Mailer, type OutgoingReply } from "./mailer.ts";
export type { InboxReport } from "./report.ts";
export { inboxSchedules } from "./schedules.ts";
export type { FaultShares } from "./simulated-faults.ts";
export { normaliseSubject, replySubject, threadLinks } from "./thread.ts";
