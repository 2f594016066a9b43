import { Cron } from "croner";

function open(expression: string): Cron {
  const zone = /^(?:CRON_)?TZ=(\S+)\s+(.*)$/.exec(expression.trim());
  const pattern = zone?.[2] ?? expression.trim();
  if (!pattern.startsWith("@") && pattern.split(/\s+/).length !== 5) {
    throw new TypeError(`${expression} does not have five fields`);
  }
  return new Cron(pattern, { timezone: zone?.[1] ?? "UTC", paused: true });
}

/** Whether a text is a cron expression: five fields, with `TZ=<zone> ` before them where wanted. */
export function checkCron(expression: string): boolean {
  try {
    open(expression);
    return true;
  } catch {
    return false;
  }
}

/** Returns the first tick after `fromMs`, in milliseconds; `undefined` when there is none. */
export function nextCronTickMs(expression: string, fromMs: number): number | undefined {
  return open(expression).nextRun(new Date(fromMs))?.getTime();
}
