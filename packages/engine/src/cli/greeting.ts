import type { DevArguments } from "./arguments.ts";
import type { FoundSecret } from "./cron-secret.ts";

/** What the command says when it is up: where everything is, one thing to call, and what to do next. */
export function greeting(
  options: DevArguments,
  url: string,
  secret: FoundSecret | undefined,
): string {
  const { tick } = options;
  const rows: [string, string][] = options.urls.map((each) => ["app", each]);
  if (tick !== undefined) {
    const carried =
      secret === undefined
        ? "without a secret: CRON_SECRET is set neither here nor in .env.local or .env"
        : `with CRON_SECRET of ${secret.from}`;
    rows.push(["ticks", `${tick.url} every ${tick.everyMs / 1_000} s, ${carried}`]);
  }
  rows.push(["try", tryLine(tick, url)]);
  rows.push(["logs", `this terminal; -v shows small steps, --json one object per line`]);
  rows.push(["next", `start the app with INNGEST_DEV=${url}`]);
  rows.push(["", `evenkeel-engine explain <event id> says why a function ran or did not`]);
  const lines = rows.map(([name, value]) => `  ${name.padEnd(8)}${value}`);
  return [
    `evenkeel-engine listens at ${url}`,
    ...lines,
    ...options.ignored.map((line) => `  ! ${line}`),
  ].join("\n");
}

function tryLine(tick: DevArguments["tick"], url: string): string {
  return tick === undefined
    ? `curl -X POST ${url}/e/dev -d '{"name":"hello","data":{}}'`
    : `curl -X POST -H "Authorization: Bearer $CRON_SECRET" ${tick.url}`;
}
