/** What stands where a credential was. */
export const redacted: string = "[redacted]";

/** A name whose value is a credential, as a variable, a header or a field ends in it. */
export const secretName: string =
  "(?:pass(?:word|wd|phrase)|pwd|secret|(?<!unexpected )token|credentials?|authorization|cookie" +
  "|(?:api|access|account|event|private|secret|signing|encryption)[-_]?key(?:[-_]?fallback)?)";

/** How a token begins that its issuer made to be recognised. */
const tokenStarts: readonly string[] = [
  "sk-", // OpenAI, Anthropic
  "[srp]k_(?:live|test)_", // Stripe
  "whsec_",
  "gh[pousr]_",
  "github_pat_",
  "glpat-",
  "npm_",
  "xox[a-z]-", // Slack
  "xapp-",
  "ya29\\.", // Google
  "SG\\.", // SendGrid
  "shp(?:pa|ca|at|ss)_", // Shopify
  "hf_", // Hugging Face
  "gsk_", // Groq
  "lin_api_", // Linear
  "ntn_", // Notion
  "gl(?:c|sa)_", // Grafana
  "ops_ey", // 1Password
  "hv[sbr]\\.", // HashiCorp Vault
  "vc[piark]_", // Vercel
  "dapi(?=[a-fA-F\\d]{16})", // Databricks
  "dckr_pat_", // Docker
  "figd_", // Figma
  "cf(?:k|ut|at)_", // Cloudflare
  "tskey-[a-z]{2,20}-", // Tailscale
];

/** Before a token stands no letter and no digit: `task-…` holds no `sk-…`. */
const atStart = "(?<![\\p{L}\\p{N}])";

/** A name, and what leads from it to its value; JSON inside JSON escapes its quotes. */
const named = `(${secretName}(?:\\\\{0,4}["'])?\\s{0,4}[:=]\\s{0,4})`;

/** What to look for, and what stands in its place. */
export type Rule = readonly [pattern: RegExp, replacement: string];

/*
 * The list follows @secretlint/secretlint-rule-preset-recommend, which scans this repository, and a test holds it to
 * that. E-mail addresses, JWTs, headers, URLs and Inngest's keys are added. Only what ends a pattern is repeated
 * without a bound: the time grows with the text's length alone.
 */
/** Credentials, in the order in which they are looked for. */
export const credentials: readonly Rule[] = [
  [
    /-----BEGIN[ A-Z]{0,40}PRIVATE KEY[ A-Z]{0,10}-----[^-]*(?:-(?!----)[^-]*)*(?:-----END[ A-Z]{0,50}-----)?/gu,
    redacted,
  ],
  // What is left of a signing key says of which environment it is.
  [/(signkey-[a-z]{1,20}-)[\w-]+/gu, `$1${redacted}`],
  // An event key is the last part of the path that events are sent to.
  [/(https?:\/\/[^\s"'<>]{1,300}?\/e\/)[^\s"'<>/?#,)]+/giu, `$1${redacted}`],
  [/(\/e\/)[\w-]{20,}/gu, `$1${redacted}`],
  [/(hooks\.slack\.com\/[a-z]{1,20}\/)[\w/-]+/giu, `$1${redacted}`],
  // Credentials inside a URL, as connection strings carry them; then those whose password is not escaped.
  [/([a-z][a-z\d+.-]{0,30}:\/\/)[^\s/?#"'<>]+@/giu, `$1${redacted}@`],
  [
    /([a-z][a-z\d+.-]{0,30}:\/\/)[^\s/?#@:"'<>[\]]{0,300}:(?!\d{1,5}(?:[/?#]|$))[^\s@"'<>]{1,300}@/giu,
    `$1${redacted}@`,
  ],
  [
    /([?&](?:key|sig|signature|auth|code|x-amz-(?:signature|credential))=)[^\s&#"'<>]+/giu,
    `$1${redacted}`,
  ],
  [/((?:authorization|cookie)\s{0,4}[:=]\s{0,4})[^\s\\"',][^\n\\"',]*/giu, `$1${redacted}`],
  [
    /\b(bearer\s{1,4})(?!(?:tokens?|auth|authentication|secrets?)(?![\w.~+/=-]))[\w.~+/=-]+/giu,
    `$1${redacted}`,
  ],
  [/\b([Bb]asic\s{1,4})(?=[a-z+/]{0,80}[A-Z\d=])[\w+/=-]{6,}/gu, `$1${redacted}`],
  // A JWT's header begins like this, and so does any other JSON object in base64.
  [/(?<![\p{L}\p{N}])eyJ[\w+/=-]{13,}(?:\.[\w+/=-]*){0,4}/gu, redacted],
  [
    new RegExp(`${atStart}(?:${tokenStarts.join("|")})[\\w+/=-]{16,}(?:\\.[\\w-]+){0,2}`, "gu"),
    redacted,
  ],
  [
    new RegExp(`${atStart}(?:A3T[A-Z\\d]|A(?:KIA|GPA|IDA|ROA|IPA|NPA|NVA|SIA))[A-Z\\d]{16}`, "gu"),
    redacted,
  ],
  [new RegExp(`${atStart}AIza[\\w-]{30,}`, "gu"), redacted],
  // A secret of a Microsoft Entra application.
  [/[\w~.-]{3}\dQ~[\w~.-]{31,}/gu, redacted],
  [
    new RegExp(
      `${named}(?<quote>\\\\{0,4}["'])(?:(?!\\k<quote>)(?:\\\\.|[^\\n]))*(?:\\k<quote>)?`,
      "giu",
    ),
    `$1$<quote>${redacted}$<quote>`,
  ],
  [new RegExp(`${named}(?!\\[redacted\\])[^\\s"',;&\\\\]+`, "giu"), `$1${redacted}`],
];

/** An e-mail address. */
export const emailAddress: Rule = [
  /(?<![\p{L}\p{N}.%+_'-])[\p{L}\p{N}.%+_'-]+@(?!\d{1,9}\.\d)(?:[\p{L}\p{N}-]{1,63}\.){1,8}\p{L}{2,24}/gu,
  "[email]",
];
