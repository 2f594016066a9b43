import type { Finding, Repository } from "../repository.ts";
import { checkFileLengths } from "./file-lengths.ts";
import { checkFileNames } from "./file-names.ts";
import { checkFolders } from "./folders.ts";
import { checkMarkdownLinks } from "./markdown-links.ts";
import { checkPackageReadmes } from "./package-readmes.ts";

/** Checks what no linter does: names, lengths and folders of files, links of Markdown, and a README in every package. */
export async function checkLayout(repository: Repository): Promise<Finding[]> {
  return [
    ...checkFileNames(repository.files),
    ...checkFolders(repository.files),
    ...(await checkFileLengths(repository)),
    ...(await checkMarkdownLinks(repository)),
    ...(await checkPackageReadmes(repository)),
  ];
}
