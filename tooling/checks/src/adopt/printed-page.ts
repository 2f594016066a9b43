/** A file as a page prints it, under its path. */
export interface PrintedFile {
  readonly path: string;
  readonly code: string;
}

/** What a section of a page asks its reader to do, in the order of the page. */
export interface PrintedSection {
  readonly title: string;
  readonly files: readonly PrintedFile[];
  /** The lines of `sh` fences, without comments. */
  readonly commands: readonly string[];
}

const fence = /^```(\w+)(?: (\S+))?\n([\s\S]*?)^```/gmu;
const pathComment = /^(?:\/\/|#|--) (\S*(?:\.\w+|\/\S+))$/u;

/**
 * Reads the sections of a page. A fence is a file where it names its path: in a comment that is its first line,
 * `// background.ts`, or after its language where the language has no comments, ```` ```json vercel.json ````. Such a
 * comment further down starts another file.
 */
export function readSections(page: string): PrintedSection[] {
  return page.split(/^## /mu).map((text) => {
    const files: PrintedFile[] = [];
    const commands: string[] = [];
    for (const [, language, named, code = ""] of text.matchAll(fence)) {
      if (language === "sh") commands.push(...commandsOf(code));
      else if (named === undefined) files.push(...filesOf(code));
      else files.push({ path: named, code });
    }
    return { title: text.split("\n")[0] ?? "", files, commands };
  });
}

/** Returns a section by the beginning of its title. Throws where the page has none. */
export function findSection(sections: readonly PrintedSection[], title: string): PrintedSection {
  const found = sections.find((section) => section.title.startsWith(title));
  if (found === undefined) throw new Error(`The page has no section "${title}".`);
  return found;
}

/** How many lines of a file a reader writes: empty ones, and the comment that is its path, do not count. */
export function countLines({ code }: PrintedFile): number {
  return code.split("\n").filter((line) => line.trim() !== "").length;
}

function commandsOf(code: string): string[] {
  return code.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#"));
}

function filesOf(code: string): PrintedFile[] {
  const files: { path: string; lines: string[] }[] = [];
  for (const line of code.split("\n")) {
    const path = pathComment.exec(line)?.[1];
    if (path !== undefined) files.push({ path, lines: [] });
    else files.at(-1)?.lines.push(line);
  }
  return files.map(({ path, lines }) => ({ path, code: lines.join("\n") }));
}
