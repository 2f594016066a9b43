import { type ASTNode, Environment } from "@marcbachmann/cel-js";

import { type JsonObject, isRecord, parseJson } from "../json.ts";

/** The variables an expression sees: `event`, and `async` for a later event. */
export type Scope = Readonly<Record<string, unknown>>;

/**
 * An expression in CEL, parsed and evaluated by `@marcbachmann/cel-js`. Around it stand the real
 * server's own rules for what plain CEL refuses: a missing attribute is unknown and compares as null,
 * `&&`, `||` and `?:` take any value as true or false, and `+` joins values of different types as text.
 */
export interface Expression {
  /** The value: `undefined` where it is unknown, a bigint for a CEL int. */
  evaluate(scope: Scope): unknown;
  /** Whether the value is exactly `true`. */
  isTrue(scope: Scope): boolean;
}

/** An expression that cannot be read. */
export class ExpressionError extends Error {
  override readonly name = "ExpressionError";
}

const cel = new Environment({ unlistedVariablesAreDyn: true, homogeneousAggregateLiterals: false })
  .registerFunction("lowercase(string): string", (text: string) => text.toLowerCase())
  .registerFunction("uppercase(string): string", (text: string) => text.toUpperCase())
  .registerFunction("b64decode(string): string", (text: string) =>
    Buffer.from(text, "base64").toString(),
  )
  .registerFunction("json_parse(string): dyn", (text: string) => parseJson(text) ?? {})
  .registerFunction("date(dyn): google.protobuf.Timestamp", (value: unknown) =>
    typeof value === "string" || typeof value === "number" ? new Date(value) : new Date(Number.NaN),
  );
const cacheLimit = 1_000;
const cache = new Map<string, Expression>();

/**
 * Compiles an expression, once per text.
 *
 * @throws ExpressionError when it is no CEL.
 */
export function compileExpression(source: string): Expression {
  const known = cache.get(source);
  if (known !== undefined) return known;
  let ast: ASTNode;
  try {
    ast = cel.parse(source).ast;
  } catch (cause) {
    throw new ExpressionError(`expression ${JSON.stringify(source)} is not valid CEL`, { cause });
  }
  const expression: Expression = {
    evaluate: (scope) => evaluateNode(ast, scope),
    isTrue: (scope) => evaluateNode(ast, scope) === true,
  };
  if (cache.size >= cacheLimit) cache.clear();
  cache.set(source, expression);
  return expression;
}

/** An expression's value as the text of a key, as the server writes it. */
export function keyText(value: unknown): string {
  if (value === undefined || value === null) return "<nil>";
  if (typeof value === "string") return value;
  return typeof value === "bigint" ? value.toString() : JSON.stringify(value);
}

/** Evaluates an expression over an event to the text of a key. */
export function evaluateKey(expression: string, event: JsonObject): string {
  return keyText(compileExpression(expression).evaluate({ event }));
}

const isMissing = (value: unknown) => value === undefined || value === null;

function isTruthy(value: unknown): boolean {
  return Boolean(value);
}

function evaluateNode(node: ASTNode, scope: Scope): unknown {
  switch (node.op) {
    case "value":
      return node.args;
    case "id":
      return node.args in scope ? scope[node.args] : evaluateWithLibrary(node, scope);
    case ".":
    case ".?":
      return readMember(evaluateNode(node.args[0], scope), node.args[1]);
    case "[]":
    case "[?]":
      return readMember(evaluateNode(node.args[0], scope), evaluateNode(node.args[1], scope));
    case "||": {
      const left = evaluateNode(node.args[0], scope);
      return isTruthy(left) ? left : evaluateNode(node.args[1], scope);
    }
    case "&&": {
      const left = evaluateNode(node.args[0], scope);
      return isTruthy(left) ? evaluateNode(node.args[1], scope) : left;
    }
    case "?:":
      return evaluateNode(
        isTruthy(evaluateNode(node.args[0], scope)) ? node.args[1] : node.args[2],
        scope,
      );
    case "!_": {
      const value = evaluateNode(node.args, scope);
      return typeof value === "boolean" ? !value : false;
    }
    case "==":
    case "!=":
    case "<":
    case "<=":
    case ">":
    case ">=":
    case "+":
    case "-":
    case "*":
    case "/":
    case "%":
      return evaluateBinary(
        node.op,
        evaluateNode(node.args[0], scope),
        evaluateNode(node.args[1], scope),
      );
    case "rcall":
      return evaluateMethod(node, scope);
    case "-_":
    case "call":
    case "in":
    case "list":
    case "map":
      break;
  }
  return evaluateWithLibrary(node, scope);
}

function readMember(target: unknown, key: unknown): unknown {
  if (Array.isArray(target)) return target[Number(key)] as unknown;
  if (!isRecord(target)) return undefined;
  const name = keyText(key);
  return Object.hasOwn(target, name) ? target[name] : undefined;
}

function evaluateBinary(op: string, left: unknown, right: unknown): unknown {
  if (left === undefined || right === undefined) return compareUnknown(op, left, right);
  if (left === null || right === null) {
    if (op === "==") return left === right;
    if (op === "!=") return left !== right;
    return evaluateOperator(op, left ?? zeroLike(right), right ?? zeroLike(left));
  }
  const value = evaluateOperator(op, left, right);
  if (value !== undefined || op !== "+") return value;
  return `${keyText(left)}${keyText(right)}`;
}

/** What a comparison with an unknown gives: unknown is null to `==`, and less than anything. */
function compareUnknown(op: string, left: unknown, right: unknown): unknown {
  const isNull = left === null || right === null || (left === undefined && right === undefined);
  switch (op) {
    case "==":
      return isNull;
    case "!=":
      return !isNull;
    case "<":
    case "<=":
      return left === undefined;
    case ">":
    case ">=":
      return left !== undefined;
    case "+":
      return left ?? right ?? false;
    default:
      return false;
  }
}

function zeroLike(value: unknown): unknown {
  if (typeof value === "string") return "";
  if (typeof value === "bigint") return 0n;
  if (typeof value === "number") return 0;
  return typeof value === "boolean" ? false : value;
}

const operators = new Map(
  ["==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "in"].map((op) => [
    op,
    cel.parse(`left ${op} right`),
  ]),
);

function evaluateOperator(op: string, left: unknown, right: unknown): unknown {
  if (typeof left === "string" && typeof right === "string") {
    if (op === "==") return left === right;
    if (op === "!=") return left !== right;
  }
  try {
    return operators.get(op)?.({ left, right }) as unknown;
  } catch {
    if (op === "==") return false;
    return op === "!=" ? true : undefined;
  }
}

function evaluateMethod(node: Extract<ASTNode, { op: "rcall" }>, scope: Scope): unknown {
  const receiver = evaluateNode(node.args[1], scope);
  if (isMissing(receiver)) return node.args[0] === "size" ? 0n : false;
  return evaluateWithLibrary(node, scope);
}

function evaluateWithLibrary(node: ASTNode, scope: Scope): unknown {
  if (node.op === "in") {
    const right = evaluateNode(node.args[1], scope);
    if (isMissing(right)) return false;
    return evaluateOperator("in", evaluateNode(node.args[0], scope) ?? null, right) ?? false;
  }
  try {
    return cel.evaluate(node.input.slice(node.start, node.end), { ...scope }) as unknown;
  } catch {
    return node.op === "call" && node.args[0] === "size" ? 0n : undefined;
  }
}
