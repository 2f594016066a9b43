import type { FunctionConfig } from "./function-config.ts";

/** An app that synced its functions. */
export interface App {
  readonly name: string;
  /** Its serve endpoint, without `fnId` and `stepId`. */
  readonly url: string;
  readonly sdk: string;
  readonly framework: string;
  readonly functions: readonly FunctionConfig[];
  /** What the last registration said, to tell a repeated one from a changed one. */
  readonly checksum: string;
}
