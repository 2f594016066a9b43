/**
 * The tenant that a message belongs to: its mailing list, or else the domain it was sent to. Reads the
 * header as text, as a mail gateway would before anything is parsed.
 */
export function tenantOf(raw: string): string {
  const [head = ""] = raw.split(/\r?\n\r?\n/u, 1);
  const header = head.replaceAll(/\r?\n[ \t]+/gu, " ");
  const list = /^list-id:[^\n]*?<([\w-]+)[.>]/imu.exec(header)?.[1];
  if (list !== undefined) return `list-${list.toLowerCase()}`;
  const domain = /^(?:to|delivered-to|cc):[^\n]*?@([\w.-]+)/imu.exec(header)?.[1];
  const labels = (domain ?? "")
    .toLowerCase()
    .split(".")
    .filter((label) => label !== "");
  return labels.length < 2 ? "undisclosed" : labels.slice(-2).join(".");
}
