import {
  array,
  boolean,
  constant,
  constantFrom,
  integer,
  json,
  oneof,
  record,
  string,
  stringMatching,
  tuple,
  type Arbitrary,
} from "fast-check";

/** A request as a client might send it, sense or no sense. */
export interface FuzzedRequest {
  readonly method: string;
  readonly target: string;
  readonly version: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
  readonly framing: "none" | "length" | "chunks" | "cut";
  /** Whether the client leaves as soon as it has sent, instead of reading the response. */
  readonly leaves: boolean;
}

/** Bytes, one per character. */
const bytes = string({
  unit: integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
});
const line = bytes.map((text) => text.replace(/[\r\n]/gu, "."));

/** What a header's value may hold. */
const printable = bytes.map((text) => text.replace(/[^\u0020-\u007E\u0080-\u00FF]/gu, ""));

const paths = [
  "/",
  "//",
  "/healthz",
  "/readyz",
  "/health",
  "/dev",
  "/api/health",
  "/api/inngest",
  "/api/cron/background-jobs",
  "/api/cron/followups",
  "/api/cron/receipts/x",
  "/e/key",
  "/fn/register",
  "/invoke/app-fn",
  "/v1/runs/x",
] as const;

const path = constantFrom(...paths);

const target = oneof(
  { weight: 12, arbitrary: path },
  {
    weight: 3,
    arbitrary: tuple(path, constantFrom("?", "/", "//", "#", "%", "\\", "/..", ";"), line).map(
      (parts) => parts.join(""),
    ),
  },
  {
    weight: 2,
    arbitrary: constantFrom(
      "*",
      "",
      "///",
      "/%",
      "/%00",
      "/%E0%A4%A",
      "/\\",
      "http://",
      "http://[",
      "http://a:b@c/healthz",
      "//evil.example/healthz",
      `/${"a".repeat(10_000)}`,
      "/api/cron/%00",
      "/api/cron/receipts/%00",
      "/api/cron/receipts/%E0%A4%A",
    ),
  },
  { weight: 2, arbitrary: line },
);

const method = oneof(
  {
    weight: 20,
    arbitrary: constantFrom("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH"),
  },
  {
    weight: 1,
    arbitrary: constantFrom("TRACE", "CONNECT", "BREW", "get", "M-SEARCH", "QUERY", ""),
  },
  { weight: 1, arbitrary: line },
);

const value = oneof(
  { weight: 8, arbitrary: printable },
  { weight: 1, arbitrary: line },
  {
    weight: 8,
    arbitrary: constantFrom(
      "",
      "0",
      "-1",
      "null",
      "a, b",
      "\t",
      "1".repeat(9_000),
      "2026-01-01T00:00:00Z",
      "9999-12-31T23:59:59Z",
      "https",
      "t=1&s=0",
    ),
  },
);

const name = oneof(
  {
    weight: 30,
    arbitrary: constantFrom(
      "x-correlation-id",
      "x-evenkeel-scheduled-at",
      "x-inngest-signature",
      "x-inngest-server-kind",
      "x-inngest-req-version",
      "x-inngest-sync-kind",
      "x-forwarded-proto",
      "x-forwarded-host",
      "x-forwarded-for",
      "content-type",
      "content-encoding",
      "accept-encoding",
      "cookie",
      "range",
      "origin",
      "next-action",
      "rsc",
      "x-middleware-subrequest",
      "__proto__",
    ),
  },
  { weight: 1, arbitrary: stringMatching(/^[a-z-]{1,12}$/u) },
  { weight: 1, arbitrary: line },
);

/** What decides where a request ends: a client that sends them may wait for ever, so it leaves. */
const framingName = constantFrom(
  "content-length",
  "transfer-encoding",
  "expect",
  "upgrade",
  "connection",
  "host",
  "trailer",
);

const body = oneof(
  constantFrom(
    "",
    "{",
    "[]",
    "null",
    "0",
    "{}",
    "[".repeat(20_000),
    `{"a":"\\u0000\\ud800"}`,
    `{"__proto__":{"a":1}}`,
    `{"name":"a","data":null}`,
  ),
  json(),
  bytes,
);

/** Requests to the host, with the right secret now and then, so that what it guards is reached. */
export function fuzzedRequest(host: string, secret: string): Arbitrary<FuzzedRequest> {
  const authorization = oneof(
    { weight: 4, arbitrary: constant(`Bearer ${secret}`) },
    { weight: 1, arbitrary: printable.map((text) => `Bearer ${text}`) },
  );
  const usual = tuple(boolean(), authorization, array(tuple(name, value), { maxLength: 4 })).map(
    ([isAuthorized, given, more]): [string, string][] => [
      ["host", host],
      ...(isAuthorized ? [["authorization", given] as [string, string]] : []),
      ...more,
    ],
  );
  const base = { method, target, body, headers: usual };
  const patient = record({
    ...base,
    version: oneof(
      { weight: 20, arbitrary: constant("HTTP/1.1") },
      { weight: 2, arbitrary: constantFrom("HTTP/1.0", "HTTP/2.0", "HTTP/1.1 ") },
    ),
    framing: constantFrom("none", "length", "chunks"),
    leaves: constant(false),
  });
  const rude = record({
    ...base,
    version: oneof(constantFrom("HTTP/1.1", "HTTP/1.0", "HTTP/0.9", ""), line),
    headers: tuple(usual, array(tuple(framingName, value), { minLength: 1, maxLength: 3 })).map(
      ([some, others]) => [...some, ...others],
    ),
    framing: constantFrom("none", "length", "chunks", "cut"),
    leaves: constant(true),
  });
  return oneof({ weight: 2, arbitrary: patient }, { weight: 1, arbitrary: rude });
}

/** Returns a request as the bytes to send, one per character. */
export function encodeRequest(request: FuzzedRequest): string {
  const { method, target, version, headers, body, framing } = request;
  const length = framing === "cut" ? body.length + 100 : body.length;
  const framed =
    framing === "chunks"
      ? ["transfer-encoding: chunked"]
      : framing === "none"
        ? []
        : [`content-length: ${length}`];
  const chunk = body === "" ? "" : `${body.length.toString(16)}\r\n${body}\r\n`;
  return [
    `${method} ${target} ${version}`,
    ...headers.map(([each, given]) => `${each}: ${given}`),
    ...framed,
    "connection: close",
    "",
    framing === "none" ? "" : framing === "chunks" ? `${chunk}0\r\n\r\n` : body,
  ].join("\r\n");
}
