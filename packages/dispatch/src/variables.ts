import { z } from "zod";

/** Environment variables, as in `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** One variable and what is wrong with it; never its value. */
export interface ConfigProblem {
  readonly name: string;
  readonly problem: string;
}

/**
 * Returns a variable without the whitespace around it, which dashboards and shells leave; `undefined` when
 * nothing else is left.
 */
export function readVariable(environment: Environment, name: string): string | undefined {
  const text = (environment[name] ?? "").trim();
  return text === "" ? undefined : text;
}

/** Returns the names of those variables that are set with whitespace around them. */
export function findPadded(environment: Environment): string[] {
  return Object.keys(environment).filter((name) => {
    const text = environment[name] ?? "";
    return text !== text.trim();
  });
}

/** What a switch takes, for a {@link ConfigProblem}. */
export const switchProblem = "must be true or false";

/**
 * Reads a switch in any of its usual spellings, in any case: `true`, `1`, `yes`, `y`, `on`; `false`, `0`, `no`,
 * `n`, `off`. Returns `undefined` for any other text.
 */
export function parseSwitch(text: string): boolean | undefined {
  const word = text.trim().toLowerCase();
  if (["true", "1", "yes", "y", "on"].includes(word)) return true;
  return ["false", "0", "no", "n", "off"].includes(word) ? false : undefined;
}

/** A variable as a zod type, which is given what {@link readVariable} returns. */
export const text: z.ZodOptional<z.ZodString> = z.string().optional();

/** Makes a variable's type from its reading, which throws a text for what is wrong. */
function variable<Value>(read: (value: string) => Value | Problem): z.ZodType<Value | undefined> {
  return text.transform((value, context) => {
    if (value === undefined) return undefined;
    const result = read(value);
    if (!(result instanceof Problem)) return result;
    context.addIssue({ code: "custom", message: result.text });
    return z.NEVER;
  });
}

class Problem {
  readonly text: string;

  constructor(problem: string) {
    this.text = problem;
  }
}

/** A switch: `undefined` when it is not set. */
export const flag: z.ZodType<boolean | undefined> = variable(
  (value) => parseSwitch(value) ?? new Problem(switchProblem),
);

/** A switch for every host, or the name of the one host that it is on for. */
export const hostChoice: z.ZodType<boolean | string | undefined> = variable(
  (value) =>
    parseSwitch(value) ??
    (/^[a-z][a-z0-9-]{0,49}$/u.test(value)
      ? value
      : new Problem("must be true, false or the name of the host that serves")),
);

/** A whole number within bounds. */
export function wholeNumber(min: number, max: number): z.ZodType<number | undefined> {
  return variable((value) => {
    const number = /^\d+$/u.test(value) ? Number(value) : Number.NaN;
    return number >= min && number <= max
      ? number
      : new Problem(`must be a whole number from ${min} to ${max}`);
  });
}

/** One of several words, in any case. */
export function oneOf<Word extends string>(words: readonly Word[]): z.ZodType<Word | undefined> {
  return variable(
    (value) =>
      words.find((word) => word === value.toLowerCase()) ??
      new Problem(`must be one of ${words.join(", ")}`),
  );
}

/** A moment with its zone. */
export const instant: z.ZodType<Date | undefined> = variable((value) =>
  z.iso.datetime({ offset: true }).safeParse(value).success
    ? new Date(value)
    : new Problem("must be an ISO 8601 time such as 2026-01-01T00:00:00Z"),
);

/**
 * A secret or key of visible ASCII characters, which is what an HTTP header carries unchanged. Whitespace in its
 * middle is a second line or a second value that was pasted along.
 */
export function secret(minLength = 1): z.ZodType<string | undefined> {
  return variable((value) => {
    if (/\s/u.test(value)) {
      return new Problem("must not contain whitespace: a line break or a second value is in it");
    }
    if (/[^\u0021-\u007E]/u.test(value)) {
      return new Problem("must consist of visible ASCII characters");
    }
    return value.length < minLength
      ? new Problem(`must have at least ${minLength} characters`)
      : value;
  });
}

/** An address with one of the protocols. */
export function address(protocol: RegExp, problem: string): z.ZodType<string | undefined> {
  // A URL parser drops line breaks, and whoever uses the text does not.
  return variable((value) =>
    !/\s/u.test(value) && z.url({ protocol }).safeParse(value).success
      ? value
      : new Problem(problem),
  );
}

/** Inngest's development mode: a switch, or the URL of a development server. */
export const devMode: z.ZodType<{ dev: boolean; devUrl?: string } | undefined> = variable(
  (value) => {
    const dev = parseSwitch(value);
    if (dev !== undefined) return { dev };
    return /^https?:\/\/\S+$/u.test(value) && URL.canParse(value)
      ? { dev: true, devUrl: value }
      : new Problem("must be true, false or the URL of a development server");
  },
);
