const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

function encode(value: bigint, length: number): string {
  let text = "";
  let rest = value;
  for (let index = 0; index < length; index += 1) {
    text = (alphabet[Number(rest & 31n)] ?? "0") + text;
    rest >>= 5n;
  }
  return text;
}

/**
 * The ULID that an event gets from the seed a sender puts on its request (`<milliseconds>,<base64>`):
 * the same request sent again gives the same ids. `undefined` for a seed that is none.
 */
export function seededId(seed: string | undefined, index: number): string | undefined {
  const [millisText, entropyText, ...rest] = (seed ?? "").split(",");
  if (!millisText || !entropyText || rest.length > 0) return undefined;
  const millis = Number(millisText);
  const entropy = Buffer.from(entropyText, "base64");
  if (!Number.isSafeInteger(millis) || millis <= 0 || entropy.length !== 10) return undefined;
  entropy.writeUInt32BE((entropy.readUInt32BE(6) + index) >>> 0, 6);
  return encode(BigInt(millis), 10) + encode(BigInt(`0x${entropy.toString("hex")}`), 16);
}
