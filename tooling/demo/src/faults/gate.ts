import { once } from "node:events";
import { createServer, connect, type Server, type Socket } from "node:net";

/** A door in front of a server: shut, the server cannot be reached, as if its network had gone. */
export interface Gate {
  readonly url: string;
  /** Cuts what passes and refuses what comes. */
  shut(): Promise<void>;
  open(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens a {@link Gate} on a free port of 127.0.0.1 in front of other ports. Connections go to them in turn;
 * where nothing listens, the next is tried, as a load balancer does.
 */
export async function createGate(...targetPorts: readonly number[]): Promise<Gate> {
  const sockets = new Set<Socket>();
  let turn = 0;
  const server = createServer((incoming) => {
    sockets.add(incoming);
    incoming.on("error", () => {});
    incoming.on("close", () => sockets.delete(incoming));
    turn += 1;
    const ports = targetPorts.map(
      (_, index) => targetPorts[(turn + index) % targetPorts.length] ?? 0,
    );
    passOn(incoming, ports, sockets);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const port = portOf(server);
  const shut = async (): Promise<void> => {
    if (!server.listening) return;
    const closed = once(server, "close");
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return {
    url: `http://127.0.0.1:${port}`,
    shut,
    open: async () => {
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
    },
    close: shut,
  };
}

function passOn(incoming: Socket, ports: readonly number[], sockets: Set<Socket>): void {
  const [port, ...others] = ports;
  if (port === undefined || incoming.destroyed) {
    incoming.destroy();
    return;
  }
  const outgoing = connect(port, "127.0.0.1");
  const tryNext = (): void => passOn(incoming, others, sockets);
  outgoing.once("error", tryNext);
  outgoing.once("connect", () => {
    outgoing.off("error", tryNext);
    outgoing.on("error", () => incoming.destroy());
    outgoing.on("close", () => {
      sockets.delete(outgoing);
      incoming.destroy();
    });
    incoming.on("close", () => outgoing.destroy());
    if (incoming.destroyed) outgoing.destroy();
    sockets.add(outgoing);
    incoming.pipe(outgoing);
    outgoing.pipe(incoming);
  });
}

/** A port of 127.0.0.1 that nothing listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const port = portOf(server);
  server.close();
  await once(server, "close");
  return port;
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("The gate has no port.");
  return address.port;
}
