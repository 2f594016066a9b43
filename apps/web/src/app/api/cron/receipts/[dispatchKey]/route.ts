import { background } from "../../../../../background.ts";

export const dynamic = "force-dynamic";

/** What became of a tick, for those who hold the cron secret. */
export const { receipts: GET } = background;
