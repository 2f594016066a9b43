import { deterministicUuid } from "../identity.ts";
import type { JsonObject } from "../json.ts";
import { parseDurationMs } from "../time/duration.ts";
import { checkCron } from "./cron-expression.ts";
import { readConcurrency, readFlowControl } from "./flow-control.ts";
import { checkExpression, readDuration, refuse } from "./function-checks.ts";
import type { FunctionConfig, Trigger } from "./function-config.ts";
import { type FunctionInput, functionSchema } from "./function-schema.ts";

/** Retries where a function names none. */
const defaultRetries = 4;
const maxRetries = 20;

/**
 * Reads one function of a registration.
 *
 * @throws FunctionRefusedError with the first reason why the real server refuses it.
 */
export function parseFunction(source: JsonObject, appName: string): FunctionConfig {
  const parsed = functionSchema.safeParse(source);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    refuse(`${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`);
  }
  const input = parsed.data;
  const steps = Object.values(input.steps);
  const step = steps[0];
  if (step === undefined || steps.length !== 1) refuse("Functions must contain one step");
  if (input.name === "") refuse("A function name is required");
  if (!/^https?:$/.test(URL.canParse(step.runtime.url) ? new URL(step.runtime.url).protocol : "")) {
    refuse(`Non-supported step schema: ${step.runtime.url}`);
  }
  const slug = input.id === "" ? input.name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-") : input.id;
  const retries = Math.min(step.retries?.attempts ?? input.retries ?? defaultRetries, maxRetries);
  return {
    id: deterministicUuid(`${appName}\n${slug}`),
    slug,
    name: input.name,
    appName,
    url: step.runtime.url,
    maxAttempts: retries + 1,
    triggers: readTriggers(input),
    ...readConcurrency(input),
    ...readFlowControl(input),
    ...readTimes(input),
    cancelOn: readCancellations(input),
    source,
  };
}

function readTriggers(input: FunctionInput): Trigger[] {
  const triggers = input.triggers ?? [];
  if (triggers.length > 10) refuse("This function exceeds the max number of triggers: 10");
  const seen = new Set<string>();
  return triggers.map((trigger): Trigger => {
    const key = JSON.stringify(trigger);
    if (seen.has(key)) refuse(`duplicate trigger ${key}`);
    seen.add(key);
    if ("cron" in trigger) {
      if (!checkCron(trigger.cron)) refuse(`'${trigger.cron}' isn't a valid cron schedule`);
      const jitterMs = trigger.jitter ? readDuration(trigger.jitter, "The jitter") : 0;
      return { kind: "cron", cron: trigger.cron, jitterMs };
    }
    if (trigger.event === "") refuse("An event trigger must specify an event name");
    const expression = checkExpression(
      trigger.expression,
      `trigger expression on '${trigger.event}'`,
    );
    return { kind: "event", event: trigger.event, ...(expression ? { expression } : {}) };
  });
}

function readTimes(
  input: FunctionInput,
): Pick<FunctionConfig, "startTimeoutMs" | "finishTimeoutMs"> {
  const startTimeoutMs = input.timeouts?.start ? parseDurationMs(input.timeouts.start) : undefined;
  const finishTimeoutMs = input.timeouts?.finish
    ? parseDurationMs(input.timeouts.finish)
    : undefined;
  return {
    ...(startTimeoutMs ? { startTimeoutMs } : {}),
    ...(finishTimeoutMs ? { finishTimeoutMs } : {}),
  };
}

function readCancellations(input: FunctionInput): FunctionConfig["cancelOn"] {
  const cancellations = input.cancel ?? [];
  if (cancellations.length > 5) {
    refuse("This function exceeds the max number of cancellation events: 5");
  }
  return cancellations.map((cancellation) => {
    const condition = checkExpression(cancellation.if, "Cancellation expression");
    return {
      event: cancellation.event,
      ...(cancellation.timeout ? { timeout: cancellation.timeout } : {}),
      ...(condition ? { condition } : {}),
    };
  });
}
