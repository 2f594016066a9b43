import { once } from "node:events";
import { connect } from "node:net";

/** A client that no server may keep waiting longer than this, in milliseconds. */
const patienceMs = 60_000;

/**
 * Sends bytes and returns what comes back until the server closes the connection.
 *
 * @throws Error when it keeps the connection open for a minute.
 */
export async function sendAndRead(port: number, bytes: string): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1" });
  const parts: Buffer[] = [];
  socket.on("data", (part) => parts.push(part));
  // A server that refuses what it is still being sent may reset the connection after its response.
  socket.on("error", () => {});
  const timer = setTimeout(() => socket.destroy(), patienceMs);
  socket.write(bytes, "latin1");
  const startedMs = performance.now();
  await once(socket, "close");
  clearTimeout(timer);
  if (performance.now() - startedMs >= patienceMs)
    throw new Error("No end of the response in a minute.");
  return Buffer.concat(parts).toString("latin1");
}

/** Sends bytes and leaves before any response. */
export async function sendAndLeave(port: number, bytes: string): Promise<void> {
  const socket = connect({ port, host: "127.0.0.1" });
  socket.on("error", () => {});
  const left = once(socket, "close");
  socket.write(bytes, "latin1", () => socket.resetAndDestroy());
  await left;
}
