import { relative } from "node:path";

/** What vitest's JSON reporter writes, as far as it is read here. */
export interface JsonReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

/** One run of many. */
export interface SteadyRun {
  /** Its number, from 1. */
  readonly run: number;
  readonly of: number;
  readonly seconds: number;
  /** Whether vitest ended well and left a report. */
  readonly isGood: boolean;
  readonly report: JsonReport | undefined;
  /** The folder that file names are shown relative to. */
  readonly root: string;
}

/** Returns one line about a run, and two for each test that failed: its name, and the first line of why. */
export function describeRun({ run, of, seconds, isGood, report, root }: SteadyRun): string {
  const counts =
    report === undefined
      ? "no report"
      : `${report.numPassedTests} passed, ${report.numFailedTests} failed`;
  const lines = [
    `run ${run} of ${of}: ${isGood ? "passed" : "FAILED"}, ${counts}, ${seconds.toFixed(0)} s`,
  ];
  for (const file of report?.testResults ?? []) {
    const name = relative(root, file.name);
    const failures = file.assertionResults.filter(({ status }) => status === "failed");
    for (const { fullName, failureMessages = [] } of failures) {
      lines.push(`  ${name} > ${fullName}`, `    ${firstLine(failureMessages[0])}`);
    }
    // A file that did not load has no tests.
    if (file.status === "failed" && failures.length === 0) {
      lines.push(`  ${name}`, `    ${firstLine(file.message)}`);
    }
  }
  return lines.join("\n");
}

function firstLine(message = ""): string {
  return message.split("\n", 1)[0] ?? "";
}
