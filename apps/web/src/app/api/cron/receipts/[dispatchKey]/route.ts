import { webHost } from "../../../../../host.ts";

export const dynamic = "force-dynamic";

/** What became of a tick, for those who hold the cron secret. */
export function GET(request: Request): Promise<Response> {
  return webHost().receipts(request);
}
