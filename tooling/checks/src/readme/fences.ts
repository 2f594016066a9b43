/** A piece of TypeScript that a README shows as one file: a fence, or the part of it under `// a/path.ts`. */
export interface Fence {
  readonly code: string;
  /** The README's line, counted from 1, that holds the first line of code. */
  readonly line: number;
}

const fencePattern = /^```tsx?[^\n]*\n([\s\S]*?)^```/gmu;
const fileComment = /^\/\/ \S+\.tsx?$/u;

/** Returns the files that a page's `ts` fences show, in their order. */
export function typescriptFences(page: string): Fence[] {
  return [...page.matchAll(fencePattern)].flatMap((match) => {
    const firstLine = page.slice(0, match.index).split("\n").length + 1;
    const lines = (match[1] ?? "").split("\n");
    const starts = lines.flatMap((line, index) =>
      index > 0 && fileComment.test(line) ? [index] : [],
    );
    return [0, ...starts].map((start, index) => ({
      code: lines.slice(start, starts[index] ?? lines.length).join("\n"),
      line: firstLine + start,
    }));
  });
}

const opening = /^[ \t]*(?:`{3,}|~{3,})[ \t]*(?:[mc]?[jt]sx?|typescript|javascript)\b/gmu;
const compiled = /^```tsx?\b/u;

/** Returns the lines, counted from 1, where a fence of code opens in a form that {@link typescriptFences} does not read. */
export function uncompiledFences(page: string): number[] {
  return [...page.matchAll(opening)]
    .filter(([text]) => !compiled.test(text))
    .map(({ index }) => page.slice(0, index).split("\n").length);
}
