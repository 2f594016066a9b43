/** Labels that registries of a country put before its own: `co.uk` belongs to no organisation. */
const registryLabels = new Set(["ac", "co", "com", "edu", "gov", "net", "org"]);

/** Headers that name a mailing list, the most telling first. */
const listHeaders: readonly RegExp[] = [
  /^list-id:(?:[^\n]*<| *)([\w-]+)[^\n]*$/imu,
  /^x-mailing-list:[^\n]*?([\w-]+)@/imu,
  /^mailing-list:[^\n]*?([\w-]+)@/imu,
  /^x-beenthere:[^\n]*?([\w-]+)@/imu,
  /^sender:[^\n]*?owner-([\w-]+)@/imu,
  /^sender:[^\n]*?([\w-]+?)-(?:admin|bounces|owner)@/imu,
];

/** No header names a longer one, unless it is malformed. */
const maxName = 100;
/** RFC 5322 allows a line 998 characters. What is longer is cut, so that no pattern meets a hostile length. */
const maxLine = 998;
const maxHead = 100_000;

/**
 * The tenant that a message belongs to: its mailing list (`list-<name>`), or else the domain of the
 * organisation it was sent to, or `undisclosed`. Reads the header as text, as a mail gateway would before
 * anything is parsed. Lower-case letters, digits, `.`, `_` and `-`, at most 105 characters.
 */
export function tenantOf(raw: string): string {
  const [head = ""] = raw.slice(0, maxHead).split(/\r?\n\r?\n/u, 1);
  const header = head
    .replaceAll(/\r?\n[ \t]+/gu, " ")
    .split("\n")
    .map((line) => line.slice(0, maxLine))
    .join("\n");
  for (const pattern of listHeaders) {
    const name = pattern.exec(header)?.[1];
    if (name !== undefined) return `list-${toListName(name)}`;
  }
  const domain = /^(?:to|delivered-to|cc):[^\n]*?@([\w.-]+)/imu.exec(header)?.[1];
  return organisationOf(domain ?? "");
}

function toListName(name: string): string {
  const bare = name.toLowerCase().slice(0, maxName);
  return bare.replace(/(?<=.)-(?:admin|help|owner|request)$/u, "");
}

/** `mail.example.co.uk` and `example.co.uk` are one organisation. */
function organisationOf(domain: string): string {
  const labels = domain
    .toLowerCase()
    .split(".")
    .filter((label) => label !== "");
  const [second = "", country = ""] = labels.slice(-2);
  const count = country.length === 2 && registryLabels.has(second) ? 3 : 2;
  return labels.length < count ? "undisclosed" : labels.slice(-count).join(".").slice(-maxName);
}
