import { parseSync, type Program } from "oxc-parser";

import type { Fence } from "./fences.ts";
import { namesOfPattern } from "./module-names.ts";

/** How a README says what a line gives: `await runner.drain(…); // → { succeeded: 1 }`. `//→` and `// ->` claim too. */
const mark = /^ ?(?:→|->)/u;

type Statement = Program["body"][number];

/** Whether a fence says what one of its lines gives. */
export function hasClaims({ code }: Fence): boolean {
  return /\/\/ ?(?:→|->)/u.test(code);
}

/**
 * Puts a check in the place of each claim, on its line: the value of the statement before it holds what the
 * claim names. Throws a SyntaxError for a claim that follows no value.
 */
export function insertClaimChecks(fence: Fence): string {
  const { code } = fence;
  const { comments, program } = parseSync("fence.ts", code);
  let checked = "";
  let end = 0;
  for (const comment of comments) {
    if (comment.type !== "Line" || !mark.test(comment.value)) continue;
    const line = fence.line + code.slice(0, comment.start).split("\n").length - 1;
    const statement = program.body.findLast((node) => node.start < comment.start);
    // One that ends behind the claim holds it within itself, where it is never run.
    const isOver = statement !== undefined && statement.end <= comment.start;
    const value = isOver && statement.start >= end ? valueOf(statement, code) : undefined;
    if (statement === undefined || value === undefined) {
      throw new SyntaxError(
        `Line ${line}: the claim follows no expression and no declaration of its own, outside of functions.`,
      );
    }
    const expected = comment.value.replace(mark, "").trim();
    const check = `checkClaim(${line}, ${value}, (${expected}));`;
    // An expression is evaluated once: the check takes its place.
    const isDeclared = statement.type === "VariableDeclaration";
    checked += code.slice(end, isDeclared ? comment.start : statement.start);
    checked += isDeclared ? check : check + code.slice(statement.end, comment.start);
    end = comment.end;
  }
  return checked + code.slice(end);
}

function valueOf(statement: Statement, code: string): string | undefined {
  if (statement.type === "ExpressionStatement") {
    return code.slice(statement.expression.start, statement.expression.end);
  }
  if (statement.type !== "VariableDeclaration") return undefined;
  const id = statement.declarations.at(-1)?.id;
  if (id === undefined) return undefined;
  const names = namesOfPattern(id).join(", ");
  if (id.type === "ArrayPattern") return `[${names}]`;
  return id.type === "ObjectPattern" ? `{ ${names} }` : names;
}
