import { createExpiringMap } from "../time/expiring-map.ts";

/** Gives events their internal ids. */
export interface EventIds {
  /** The id of the `index`th event of a request; a request sent again with its seed gets the same. */
  idFor(seed: string | undefined, index: number): string;
  clear(): void;
}

/** How long a sender may try a request again. */
const hourMs = 3_600_000;

/**
 * Creates {@link EventIds}. In virtual time an SDK's seed bears the machine's time and chance: ids
 * made of them would not be in order with those of runs, and never the same twice.
 */
export function createEventIds(deps: {
  now: () => number;
  fromMachine: (timestampMs: number) => number;
  nextId: () => string;
}): EventIds {
  const { now, fromMachine, nextId } = deps;
  const adopted = createExpiringMap<string>(hourMs);
  return {
    idFor(seed, index) {
      const spelled = seededId(seed, index);
      if (spelled === undefined) return nextId();
      const stampMs = Number(seed?.split(",")[0]);
      if (fromMachine(stampMs) === stampMs) return spelled;
      const id = adopted.get(spelled, now()) ?? nextId();
      adopted.set(spelled, id, now());
      return id;
    },
    clear: () => adopted.clear(),
  };
}

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
 * the same request sent again gives the same ids. Returns `undefined` for what is no seed.
 */
function seededId(seed: string | undefined, index: number): string | undefined {
  const [millisText, entropyText, ...rest] = (seed ?? "").split(",");
  if (!millisText || !entropyText || rest.length > 0) return undefined;
  const millis = Number(millisText);
  const entropy = Buffer.from(entropyText, "base64");
  if (!Number.isSafeInteger(millis) || millis <= 0 || entropy.length !== 10) return undefined;
  entropy.writeUInt32BE((entropy.readUInt32BE(6) + index) >>> 0, 6);
  return encode(BigInt(millis), 10) + encode(BigInt(`0x${entropy.toString("hex")}`), 16);
}
