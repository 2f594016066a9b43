import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { root } from "../paths.ts";
import { startChild, waitUntilUp, type Child } from "./child.ts";

/** The Inngest server that the demo runs on. */
export interface InngestServer {
  /** What it is, in words. */
  readonly engine: string;
  readonly child: Child;
}

interface Program {
  readonly engine: string;
  readonly command: string;
  readonly args: (port: number, appUrl: string) => readonly string[];
}

/**
 * Starts a real Inngest development server where one is at hand, named by INNGEST_CLI_BIN or installed as
 * `inngest-cli`; else the embedded engine.
 */
export async function startInngestServer(
  appUrl: string,
  signal: AbortSignal,
  port: number,
): Promise<InngestServer> {
  const { engine, command, args } = findProgram();
  const child = startChild({
    name: "the Inngest server",
    command,
    args: args(port, appUrl),
    cwd: root,
    environment: { DO_NOT_TRACK: "1" },
  });
  await waitUntilUp(child, `http://127.0.0.1:${port}/dev`, signal);
  return { engine, child };
}

function findProgram(): Program {
  const named = process.env["INNGEST_CLI_BIN"];
  if (named !== undefined && named !== "") {
    const version = versionOf(named);
    if (version === undefined) {
      throw new Error(
        `INNGEST_CLI_BIN names ${named}, which does not run. Unset it, or set it right.`,
      );
    }
    return realServer(named, version);
  }
  const installed = join(root, "node_modules", ".bin", "inngest-cli");
  const version = existsSync(installed) ? versionOf(installed) : undefined;
  if (version !== undefined) return realServer(installed, version);
  return {
    engine: "@evenkeel/engine (embedded)",
    command: process.execPath,
    args: (port, appUrl) => {
      const cli = join(root, "packages", "engine", "dist", "cli.js");
      const address = ["--host", "127.0.0.1", "--port", String(port)];
      return [cli, "dev", "--url", appUrl, ...address, "--poll", "1"];
    },
  };
}

function realServer(command: string, version: string): Program {
  return {
    engine: `inngest ${version}`,
    command,
    args: (port, appUrl) => {
      const address = ["--host", "127.0.0.1", "--port", String(port)];
      const pace = ["--poll-interval", "1", "--tick", "50"];
      return ["dev", "--no-discovery", "--sdk-url", appUrl, ...address, ...pace];
    },
  };
}

function versionOf(command: string): string | undefined {
  const { status, stdout } = spawnSync(command, ["version"], { encoding: "utf8", timeout: 20_000 });
  return status === 0 ? (stdout.trim().split("\n").at(-1) ?? "") : undefined;
}
