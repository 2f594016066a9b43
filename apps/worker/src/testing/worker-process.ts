import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";

/** A worker that runs as a process of its own. */
export interface WorkerProcess {
  readonly child: ChildProcess;
  readonly url: string;
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>;
  /** What it has printed so far. */
  output(): string;
}

/** Starts the worker's `main.ts` with these variables and no others. The caller kills it. */
export async function startWorkerProcess(
  environment: Record<string, string>,
): Promise<WorkerProcess> {
  const port = await freePort();
  const child = spawn(
    process.execPath,
    ["--conditions=@evenkeel/source", join(import.meta.dirname, "..", "main.ts")],
    {
      env: {
        PATH: process.env["PATH"] ?? "",
        HOST: "127.0.0.1",
        PORT: String(port),
        ...environment,
      },
    },
  );
  const parts: string[] = [];
  child.stdout.on("data", (part) => parts.push(String(part)));
  child.stderr.on("data", (part) => parts.push(String(part)));
  const ended = once(child, "exit").then(([code]) => code as number | null);
  return { child, url: `http://127.0.0.1:${port}`, ended, output: () => parts.join("") };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" ? (address?.port ?? 0) : 0;
}
