import { basename, extname } from "node:path/posix";

import { parseSync, Visitor } from "oxc-parser";

/** A name in a file: an identifier, an SQL name, a log event or code, or a file's own name. */
export interface CodeName {
  readonly text: string;
  /** Where it starts, as an offset in the file's text; -1 for the file's own name. */
  readonly offset: number;
}

const sqlWords = /\b(?:select|insert|update|delete|from|where|create|alter|returning|order by)\b/iu;
/** How a statement on one line begins; prose does not shout. */
const statement =
  /^\s*(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|CREATE|ALTER|DROP|TRUNCATE)\s/u;
const token = /[A-Za-z_$][\w$]*(?:[.-][A-Za-z_$][\w$]*)*/gu;
const code = new Set([".ts", ".tsx", ".mts", ".mjs", ".cjs", ".js", ".jsx"]);

/** Returns the names in a file. Comments and plain prose hold none. */
export function namesOf(file: string, text: string): CodeName[] {
  const own = { text: basename(file).replace(/\.[^-]*$/u, ""), offset: -1 };
  return [own, ...namesWithin(extname(file), file, text)];
}

function namesWithin(extension: string, file: string, text: string): CodeName[] {
  if (code.has(extension)) return namesOfCode(file, text);
  if (extension === ".sql") return namesOfSql(text, 0);
  if (extension === ".prisma") return tokens(blank(text, /\/\/.*$/gmu), 0);
  if (extension === ".json") return namesOfJson(text);
  if (extension === ".md") return namesOfMarkdown(text);
  return [];
}

function namesOfCode(file: string, text: string): CodeName[] {
  const names: CodeName[] = [];
  const keep = (node: { readonly name: string; readonly start: number }): void => {
    names.push({ text: node.name, offset: node.start });
  };
  const visitor = new Visitor({
    Identifier: keep,
    PrivateIdentifier: keep,
    JSXIdentifier: keep,
    Literal: ({ value, start }) => {
      if (typeof value === "string") names.push(...namesOfString(value, start + 1));
    },
    TemplateElement: ({ value, start }) => {
      names.push(...namesOfString(value.raw, start));
    },
  });
  visitor.visit(parseSync(file, text).program);
  return names;
}

/** A string is SQL, one name (a log event, a code, a path), or prose, where only a name's form makes a name. */
function namesOfString(text: string, offset: number): CodeName[] {
  if (!/\s/u.test(text)) return tokens(text, offset);
  if (statement.test(text) || (/\n/u.test(text) && sqlWords.test(text)))
    return namesOfSql(text, offset);
  return tokens(text, offset).filter((name) => /[_$]|[a-z][A-Z]/u.test(name.text));
}

/** Names of SQL: comments are prose, and so are literals with a space. */
function namesOfSql(text: string, offset: number): CodeName[] {
  return tokens(blank(text, /--.*$|'[^'\n]*\s[^'\n]*'/gmu), offset);
}

function namesOfJson(text: string): CodeName[] {
  return [...text.matchAll(/"((?:[^"\\]|\\.)*)"/gu)].flatMap((match) =>
    namesOfString(match[1] ?? "", match.index + 1),
  );
}

/** Fences and code spans hold names; the rest of a page is prose. */
function namesOfMarkdown(text: string): CodeName[] {
  const fence = /^```(\w*)[^\n]*\n([\s\S]*?)^```/gmu;
  const fences = [...text.matchAll(fence)].flatMap((match) => {
    const [all, language = "", body = ""] = match;
    const offset = match.index + all.indexOf("\n") + 1;
    const names = namesWithin(language === "" ? ".txt" : `.${language}`, `fence.${language}`, body);
    return names.map((name) => ({ ...name, offset: name.offset + offset }));
  });
  const spans = [...blank(text, fence).matchAll(/`([^`\n]+)`/gu)].flatMap((match) =>
    namesOfString(match[1] ?? "", match.index + 1),
  );
  return [...fences, ...spans];
}

function tokens(text: string, offset: number): CodeName[] {
  return [...text.matchAll(token)].map((match) => ({
    text: match[0],
    offset: offset + match.index,
  }));
}

/** Blanks what a pattern matches, so that offsets stay. */
function blank(text: string, pattern: RegExp): string {
  return text.replace(pattern, (match) => match.replace(/[^\n]/gu, " "));
}
