import { EvenkeelError, fieldsFirst, redactText } from "@evenkeel/core";
import { pino } from "pino";

import { readEnvironment } from "./env.ts";
import { migrateOnly, startWorker, type Worker } from "./worker.ts";

const log = pino({ name: "worker" });
const logger = fieldsFirst(log);

try {
  const environment = readEnvironment(process.env);
  if (environment.config.migrate === "only") await migrateOnly({ environment, logger });
  else endWithSignals(await startWorker({ environment, logger }));
} catch (error) {
  if (!(error instanceof EvenkeelError)) throw error;
  // One line for people; the process has nothing else to say.
  process.stderr.write(`${redactText(error.message)}\n`);
  process.exitCode = 1;
}

/** The first signal stops the worker, the second one ends the process at once. */
function endWithSignals(worker: Worker): void {
  let isStopping = false;
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (isStopping) {
      log.warn({ signal }, "worker.killed");
      process.exit(1);
    }
    isStopping = true;
    log.info({ signal }, "worker.stopping");
    const isClosed = await worker.stop();
    log.info("worker.stopped");
    // What hangs would keep the process.
    process.exit(isClosed ? 0 : 1);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => void end(signal));
}
