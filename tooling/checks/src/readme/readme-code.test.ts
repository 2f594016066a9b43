import { join } from "node:path";

import { parseResult, type JobDefinition, type Runner } from "@evenkeel/jobs";
import { afterAll, expect, test } from "vitest";

import { openRepository } from "../repository.ts";
import { writeReadmePrograms, type ReadmeProgram } from "./readme-code.ts";
import { bookedOrders, close, ledger, provider, tenantId } from "./scenes/packages-jobs.ts";

const repository = await openRepository(join(import.meta.dirname, "..", "..", "..", ".."));
const programs = await writeReadmePrograms(repository, "tooling/checks/.cache/readme-run");

afterAll(close);

/** Runs a README's fences one after the other; each claim that does not hold throws. */
async function run({ folder, modules }: ReadmeProgram): Promise<Readonly<Record<string, unknown>>> {
  const names: Record<string, unknown> = {};
  for (const { name } of modules) {
    const module: unknown = await import(join(repository.root, folder, `${name}.ts`));
    Object.assign(names, module);
  }
  return names;
}

const jobs = programs.find(({ readme }) => readme === "packages/jobs/README.md");

test("the README of jobs says what its code does", async () => {
  const { runner, id, countWords } = await run(jobs!);
  expect(provider.replies).toMatchObject([{ draftId: "d-1" }]);
  expect(provider.mails).toEqual(["d-1"]);
  expect(await bookedOrders()).toEqual(["o-7"]);

  const report = await (runner as Runner).drain({ budgetMs: 20_000 });
  expect(report).toMatchObject({ succeeded: 1, dead: 0, remaining: false });
  const record = await ledger.forTenant(tenantId).jobs.find(id as string);
  expect(record).toMatchObject({ status: "SUCCEEDED", progress: null });
  const definition = countWords as JobDefinition;
  expect(parseResult(definition, record!)).toEqual({ words: 3 });
});

test("every other README that claims what its code gives keeps its word", async () => {
  for (const program of programs.filter((each) => each.hasClaims && each !== jobs)) {
    await expect(run(program)).resolves.toBeDefined();
  }
});
