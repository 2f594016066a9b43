import { expect, test } from "vitest";

import { describeRun, type JsonReport } from "./steady-report.ts";

const run = { run: 2, of: 10, seconds: 93.4, root: "/repository" };

test("a run that passed is one line of counts and seconds", () => {
  const report: JsonReport = { numPassedTests: 7, numFailedTests: 0, testResults: [] };
  expect(describeRun({ ...run, isGood: true, report })).toBe(
    "run 2 of 10: passed, 7 passed, 0 failed, 93 s",
  );
});

test("each failed test is named with why, and so is a file that did not load", () => {
  const report: JsonReport = {
    numPassedTests: 5,
    numFailedTests: 1,
    testResults: [
      {
        name: "/repository/packages/a/src/a.test.ts",
        status: "failed",
        assertionResults: [
          { fullName: "works", status: "passed" },
          {
            fullName: "counts",
            status: "failed",
            failureMessages: ["AssertionError: expected 1 to be 2\n    at a.test.ts:3"],
          },
        ],
      },
      {
        name: "/repository/packages/b/src/b.test.ts",
        status: "failed",
        message: "Cannot find package",
        assertionResults: [],
      },
    ],
  };
  expect(describeRun({ ...run, isGood: false, report }).split("\n")).toEqual([
    "run 2 of 10: FAILED, 5 passed, 1 failed, 93 s",
    "  packages/a/src/a.test.ts > counts",
    "    AssertionError: expected 1 to be 2",
    "  packages/b/src/b.test.ts",
    "    Cannot find package",
  ]);
});

test("a run that left no report has failed", () => {
  expect(describeRun({ ...run, isGood: false, report: undefined })).toBe(
    "run 2 of 10: FAILED, no report, 93 s",
  );
});
