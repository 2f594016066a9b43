import { findStarters, isRunning } from "./system/ancestors.ts";

/** A signal that fires at Ctrl-C, and at the end of the shell or the package manager that started this. */
export function listenForTheEnd(): AbortSignal {
  const interruption = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => interruption.abort(new Error(`Stopped by ${signal}.`)));
  }
  const starters = findStarters();
  setInterval(() => {
    if (!starters.every(isRunning)) interruption.abort(new Error("The starting process is gone."));
  }, 500).unref();
  return interruption.signal;
}
