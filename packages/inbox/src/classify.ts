import type { Mail } from "./mail.ts";

/** What kind of message it is. People and lists are answered, the others are not. */
export const mailClasses = ["person", "list", "bulk", "automatic", "spam"] as const;

/** One of {@link mailClasses}. */
export type MailClass = (typeof mailClasses)[number];

const spamWords =
  /\b(?:viagra|casino|mortgage|lose weight|work at home|earn \$|million dollars|click here|act now|risk free|credit card debt|no obligation|nigeria|guaranteed!?)\b/giu;

/** Classifies a message by its headers and words. The same message always gets the same class. */
export function classify(mail: Pick<Mail, "headers" | "from" | "subject" | "text">): MailClass {
  const { headers, from, subject, text } = mail;
  const precedence = headers.get("precedence")?.toLowerCase() ?? "";
  const isAutomatic =
    (headers.get("auto-submitted") ?? "no").toLowerCase() !== "no" ||
    /^(?:mailer-daemon|postmaster|no-?reply|root)@/u.test(from.address) ||
    from.address === "";
  if (isAutomatic) return "automatic";
  if (countSpamSigns(subject, text) >= 2) return "spam";
  if (headers.has("list-id") || headers.has("list-post") || precedence === "list") return "list";
  return precedence === "bulk" || headers.has("list-unsubscribe") ? "bulk" : "person";
}

function countSpamSigns(subject: string, text: string): number {
  const words = new Set(
    (`${subject} ${text}`.match(spamWords) ?? []).map((word) => word.toLowerCase()),
  );
  const letters = subject.replaceAll(/[^A-Za-z]/gu, "");
  const isShouting = letters.length > 10 && letters === letters.toUpperCase();
  return words.size + (isShouting ? 1 : 0) + (/!!|\$\$/u.test(subject) ? 1 : 0);
}

/** Whether a message of this class gets a reply. */
export function isAnswered(mailClass: MailClass): boolean {
  return mailClass === "person" || mailClass === "list";
}
