import type { SqlValue } from "./database.ts";

/** A statement whose parameters have names. */
export interface Statement<Name extends string> {
  /** The SQL as the driver takes it: `$1`, `$2`, … in place of the names. */
  readonly text: string;
  /** Returns the parameters in the order of {@link text}. */
  values(named: Readonly<Record<Name, SqlValue>>): SqlValue[];
}

/** A comment or quoted text, which hold no parameters; a cast (`::`); `:tenant(…)`, which a scope replaces; a name. */
const tokens = /--[^\n]*|'[^']*'|::|:tenant\(|:([a-z][A-Za-z]*)/gu;

/**
 * Turns named parameters into numbered ones, once, when the module loads. `:limit::int` becomes `$n::int`;
 * a name used twice keeps its number. Comments, text in quotes, casts and `:tenant(…)` stay as they are.
 *
 * @example
 * const release = defineStatement<"lane">(`… WHERE poller.lane = :lane::evenkeel.lane`);
 * await sql.query(release.text, release.values({ lane }));
 */
export function defineStatement<Name extends string>(sql: string): Statement<Name> {
  const names: string[] = [];
  const text = sql.replace(tokens, (token, name: string | undefined) => {
    if (name === undefined) return token;
    if (!names.includes(name)) names.push(name);
    return `$${names.indexOf(name) + 1}`;
  });
  return {
    text,
    values: (named) => {
      const given: Readonly<Record<string, SqlValue>> = named;
      return names.map((name) => {
        const value = given[name];
        if (value === undefined) throw new Error(`The statement's parameter :${name} is missing.`);
        return value;
      });
    },
  };
}
