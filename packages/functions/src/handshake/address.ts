/** The names of this machine, which a server may put in place of one another. */
const loopback: ReadonlySet<string> = new Set(["127.0.0.1", "[::1]"]);

/** Returns an address as it is compared: without its query, and with one name for this machine. */
export function comparableAddress({ protocol, hostname, port, pathname }: URL): string {
  const host = loopback.has(hostname) ? "localhost" : hostname;
  return `${protocol}//${host}${port === "" ? "" : `:${port}`}${pathname}`;
}
