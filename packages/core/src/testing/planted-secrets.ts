/** A text that holds a secret. */
export interface PlantedSecret {
  readonly kind: string;
  readonly text: string;
  /** What must not be seen again. */
  readonly secret: string;
}

/** Some characters of base64url, the same each time. Tokens are put together, so that the repository holds none. */
function characters(length: number, alphabet = "aB3dE5gH7jK9mN2pQ4rS6tU8vW"): string {
  return Array.from({ length }, (_, index) => alphabet[(index * 7) % alphabet.length]).join("");
}

const letters = characters(120);
const digits = characters(40, "0123456789");
const hex = characters(64, "0123456789abcdef");
const capitals = characters(16, "ABCDEFGHIJKLMNOP234567");

function token(kind: string, ...parts: readonly string[]): PlantedSecret {
  const text = parts.join("");
  return { kind, text, secret: text };
}

function within(kind: string, before: string, secret: string, after = ""): PlantedSecret {
  return { kind, text: `${before}${secret}${after}`, secret };
}

const jwt = [
  "eyJ",
  "hbGciOiJIUzI1NiJ9",
  ".eyJ",
  "zdWIiOiIxMjM0NTY3ODkwIn0",
  `.${letters.slice(0, 43)}`,
];

/** One of each kind that redaction knows. None is real. */
export const plantedSecrets: readonly PlantedSecret[] = [
  token("a JWT", ...jwt),
  token("an AWS access key id", "AK", "IA", capitals),
  within("an AWS secret key", "aws_secret_access_key = ", letters.slice(0, 40)),
  token("a Google API key", "AI", "za", letters.slice(0, 35)),
  token("a Google access token", "ya", "29.", letters.slice(0, 60)),
  within("an Azure storage key", "AccountName=a;AccountKey=", `${letters.slice(0, 86)}==`, ";x"),
  token("a Microsoft Entra secret", "aB3", "8Q", "~", letters.slice(0, 34)),
  token("a GitHub token", "gh", "p_", letters.slice(0, 36)),
  token("a fine-grained GitHub token", "github", "_pat_", letters.slice(0, 82)),
  token("a GitLab token", "gl", "pat-", letters.slice(0, 20)),
  token("a Slack token", "xo", "xb-", digits.slice(0, 12), "-", letters.slice(0, 24)),
  within("a Slack webhook", "https://hooks.slack.com/services/", "T0AB/B0CD/hunter2hunter2"),
  token("a Stripe key", "sk", "_live_", letters.slice(0, 24)),
  token("a Stripe webhook secret", "wh", "sec_", letters.slice(0, 32)),
  token(
    "an OpenAI key",
    "sk",
    "-proj-",
    letters.slice(0, 74),
    "T3Blbk",
    "FJ",
    letters.slice(0, 74),
  ),
  token("an OpenAI key of the old form", "sk", "-", letters.slice(0, 48)),
  token("an Anthropic key", "sk", "-ant-api03-", letters.slice(0, 93), "AA"),
  token("an npm token", "np", "m_", letters.slice(0, 36)),
  token("a SendGrid key", "S", "G.", letters.slice(0, 22), ".", letters.slice(0, 43)),
  token("a Hugging Face token", "h", "f_", characters(34, "aBdEgHjKmN")),
  token("a Vault token", "hv", "s.", letters.slice(0, 95)),
  token("a Databricks token", "da", "pi", hex.slice(0, 32)),
  within("an Inngest signing key", "signkey-prod-", hex),
  within("an Inngest event key", "https://inn.gs/e/", letters.slice(0, 86)),
  within("a short event key", "POST http://127.0.0.1:8288/e/", "hunter2", " failed"),
  within("an event key in a path", "POST /e/", letters.slice(0, 86)),
  within("a password in a connection string", "postgresql://shop:", "hunter2", "@db:5432/shop"),
  within("an unescaped password", "postgres://shop:", "hun@ter2", "@db/shop"),
  within("a password with a slash", "postgres://shop:", "hun/ter2", "@db/shop"),
  within("a user that is a token", "https://", letters.slice(0, 20), "@github.com/a/b"),
  within("a bearer header", "Authorization: Bearer ", "hunter2"),
  within("a basic header", "proxy says Basic ", "dXNlcjpodW50ZXIy"),
  within("a cookie", "cookie: theme=dark; session=", "hunter2", ""),
  within("a signature in a URL", "https://s3.example.com/a?X-Amz-Signature=", hex),
  within("a named password", "password=", "hunter2"),
  within("a private key", "-----BEGIN PRIVATE KEY-----\n", letters, "\n-----END PRIVATE KEY-----"),
  within(
    "an encrypted private key",
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n",
    letters,
    "\n-----END RSA PRIVATE KEY-----",
  ),
  token("an e-mail address", "ada.lovelace+", "x@mail.example.co.uk"),
  token("an e-mail address in another script", "изабелла", "@пример.example"),
];
