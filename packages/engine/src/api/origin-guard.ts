import { isIP } from "node:net";

/** Why a request is refused: 400 for what cannot be read, 403 for a stranger. */
export interface Refusal {
  readonly status: 400 | 403;
  readonly error: string;
}

/** Says why a request's `Host` and `Origin` are refused; `undefined` where they are not. */
export type OriginGuard = (
  host: string | undefined,
  origin: string | undefined,
) => Refusal | undefined;

/**
 * Creates an {@link OriginGuard}. Without it any page in a browser could post events: a foreign `Origin`
 * is a page of somewhere else, and a foreign `Host` is a name that somebody made lead here. Names of
 * this machine and `allowedHosts` pass, and so do a `Host` that is an IP address, which no name leads
 * to, and requests without an `Origin`, which come from no page.
 */
export function createOriginGuard(allowedHosts: readonly string[]): OriginGuard {
  const allowed = new Set(allowedHosts.map((host) => readAuthority(host) ?? host.toLowerCase()));
  const isKnown = (hostname: string) => isLoopback(hostname) || allowed.has(hostname);

  return (host, origin) => {
    const hostname = readAuthority(host ?? "");
    if (hostname === undefined) return { status: 400, error: "the Host header names no host" };
    if (!isKnown(hostname) && isIP(bare(hostname)) === 0) return foreign("Host", hostname);
    if (origin === undefined) return undefined;
    if (origin === "null") {
      return { status: 403, error: "the Origin of this page is unknown: open it from localhost" };
    }
    const [, scheme, authority = ""] = /^([a-z][a-z\d+.-]*):\/\/(.*)$/iu.exec(origin) ?? [];
    if (scheme === undefined) return { status: 400, error: "the Origin header names no origin" };
    if (!/^https?$/iu.test(scheme)) {
      return { status: 403, error: `pages of ${scheme}: may not talk to the engine` };
    }
    const from = readAuthority(authority);
    if (from === undefined) return { status: 400, error: "the Origin header names no origin" };
    return isKnown(from) || from === hostname ? undefined : foreign("Origin", from);
  };
}

function foreign(header: string, hostname: string): Refusal {
  return {
    status: 403,
    error: `the ${header} ${hostname} is not of this machine; allow it with --allow-host ${hostname}`,
  };
}

/** Reads `host:port` as the host alone, in the form in which URLs write it; `undefined` for what is none. */
function readAuthority(text: string): string | undefined {
  if (!/^(?:\[[\da-f:.]+\]|[\w.-]+)(?::\d{1,5})?$/iu.test(text)) return undefined;
  if (!URL.canParse(`http://${text}`)) return undefined;
  return new URL(`http://${text}`).hostname.replace(/\.$/u, "");
}

function bare(hostname: string): string {
  return hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
}

function isLoopback(hostname: string): boolean {
  if (hostname === "localhost" || hostname.endsWith(".localhost")) return true;
  if (hostname === "[::1]") return true;
  return isIP(hostname) === 4 && hostname.startsWith("127.");
}
