import type { SqlValue } from "./database.ts";

/** A statement whose parameters have names. */
export interface Statement<Name extends string> {
  /** The SQL as the driver takes it: `$1`, `$2`, … in place of the names. */
  readonly text: string;
  /** Returns the parameters in the order of {@link text}. */
  values(named: Readonly<Record<Name, SqlValue>>): SqlValue[];
}

/**
 * Comments and quoted text, which hold no parameters; a cast (`::`); `:tenant(…)`, which a scope replaces; a parameter
 * with a name, or with a number.
 */
const tokens =
  /--[^\n]*|\/\*[\s\S]*?\*\/|'[^']*'|"[^"]*"|\$([a-z_]*)\$[\s\S]*?\$\1\$|::|:tenant\(|:(?<name>[a-z]\w*)|\$(?<position>\d+)/gu;

/**
 * Turns named parameters into numbered ones, once, when the module loads. `:limit::int` becomes `$n::int`;
 * a name used twice keeps its number. Comments, text in quotes, casts and `:tenant(…)` stay as they are.
 * Throws for a parameter that has a number already.
 *
 * @example
 * const release = defineStatement<"lane">(`… WHERE poller.lane = :lane::evenkeel.lane`);
 * await sql.query(release.text, release.values({ lane }));
 */
export function defineStatement<Name extends string>(sql: string): Statement<Name> {
  const names: string[] = [];
  let text = "";
  let end = 0;
  for (const match of sql.matchAll(tokens)) {
    const { name, position } = match.groups ?? {};
    if (position !== undefined)
      throw new Error(`The statement's parameter $${position} has no name.`);
    if (name === undefined) continue;
    if (!names.includes(name)) names.push(name);
    text += `${sql.slice(end, match.index)}$${names.indexOf(name) + 1}`;
    end = match.index + match[0].length;
  }
  text += sql.slice(end);
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
