import { describeMessage, EvenkeelError, fieldsFirst, redactText } from "@evenkeel/core";
import { pino } from "pino";

import { readEnvironment } from "./env.ts";
import { startWorker } from "./worker.ts";

const log = pino({ name: "worker" });

try {
  const environment = readEnvironment(process.env);
  const worker = await startWorker({ environment, logger: fieldsFirst(log) });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, "worker.stopping");
      void worker.stop().then(() => log.info("worker.stopped"));
    });
  }
} catch (error) {
  if (!(error instanceof EvenkeelError)) throw error;
  // One line for people; the process has nothing else to say.
  process.stderr.write(`${redactText(describeMessage(error))}\n`);
  process.exitCode = 1;
}
