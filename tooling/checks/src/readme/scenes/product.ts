import type { Logger } from "@evenkeel/core";
import type {
  BackgroundConfig,
  Dispatcher,
  DispatcherOptions,
  Reconciler,
} from "@evenkeel/dispatch";
import type { EventSender } from "@evenkeel/functions";
import type { InboundMessage } from "@evenkeel/inbox";
import type { JobDefinition, JobHandler, Runner } from "@evenkeel/jobs";
import type { Ledger, PrismaRawClient } from "@evenkeel/ledger";
import type { Inngest, InngestFunction } from "inngest";
import type { Pool } from "pg";
import type { z } from "zod";

/** What the READMEs take for granted: the reader's product, as the compiler sees it. Nothing here runs. */

interface Row {
  readonly id: string;
}

/** A Prisma client of the reader's own schema. */
interface ProductClient extends PrismaRawClient {
  readonly invoice: { create(input: { readonly data: object }): Promise<Row> };
  readonly order: { create(input: { readonly data: object }): Promise<Row> };
  readonly tenant: { findMany(query: object): Promise<Row[]> };
}

export declare const prisma: ProductClient & {
  $transaction<Result>(work: (tx: ProductClient) => Promise<Result>): Promise<Result>;
};
export declare const pool: Pool;
export declare const logger: Logger;
export declare const tenantId: string;
export declare const owner: string;
export declare const data: { readonly tenantId: string };
export declare const mailer: {
  send(id: string, options: { idempotencyKey: string; signal: AbortSignal }): Promise<void>;
};
export declare const messages: readonly InboundMessage[];

export declare const ledger: Ledger;
export declare const runner: Runner;
export declare const send: EventSender;
export declare const config: BackgroundConfig;
export declare const cronSecrets: readonly string[];
export declare const dispatcher: Dispatcher;
export declare const parts: Omit<DispatcherOptions, "schedules">;
export declare const reconciler: Reconciler;

export declare const client: Inngest;
export declare const functions: InngestFunction.Any[];
export declare const yourOwn: InngestFunction.Any[];
export declare const event: { readonly data: unknown };

/** Next's, and a test runner's. */
export declare const after: (work: () => Promise<unknown>) => void;
export { expect } from "vitest";

export declare const sendReply: JobDefinition<z.ZodObject<{ draftId: z.ZodString }>>;
export declare const payload: { readonly draftId: string };
export declare const sendInvoices: JobHandler;

export declare function listReaders(since: Date): Promise<readonly string[]>;
export declare function mailDigests(readers: readonly string[]): Promise<void>;
