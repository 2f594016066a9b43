import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";

/** A package as it would be published: its tarball, and the manifest inside. */
export interface PackedPackage {
  readonly tarball: string;
  readonly manifest: { readonly name: string; readonly version: string };
}

/**
 * Packs a package of `packages/`, with its `publishConfig` applied. It has to be built.
 *
 * @param folder Where the tarball goes, in a folder of its own.
 */
export async function packPackage(
  root: string,
  name: string,
  folder: string,
): Promise<PackedPackage> {
  const destination = join(folder, name);
  await mkdir(destination);
  const pnpm = join(root, "node_modules", ".bin", "pnpm");
  const run = promisify(execFile);
  await run(pnpm, ["pack", "--pack-destination", destination], {
    cwd: join(root, "packages", name),
  });
  const [file] = await readdir(destination);
  if (file === undefined) throw new Error(`pnpm packed nothing in packages/${name}.`);
  const tarball = join(destination, file);
  const { stdout } = await run("tar", ["-xzOf", tarball, "package/package.json"]);
  return { tarball, manifest: JSON.parse(stdout) };
}

/** A registry of packed packages alone, at an address of this machine. */
export interface PackedRegistry {
  readonly url: string;
  readonly close: () => Promise<void>;
}

/**
 * Serves packed packages as a registry does, so that a package manager installs them by their names:
 * `@evenkeel:registry=<url>` in its configuration. What is not packed is answered with 404.
 */
export async function servePackages(packages: readonly PackedPackage[]): Promise<PackedRegistry> {
  const served = new Map<string, { readonly body: Buffer; readonly type: string }>();
  const server = createServer((request, response) => {
    const found = served.get(decodeURIComponent(request.url ?? ""));
    response.writeHead(found === undefined ? 404 : 200, {
      "content-type": found?.type ?? "application/json",
    });
    response.end(found?.body ?? "{}");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("The registry has no port.");
  const url = `http://127.0.0.1:${address.port}/`;
  for (const { tarball, manifest } of packages) {
    const { name, version } = manifest;
    const body = await readFile(tarball);
    const path = `/${name}/-/${version}.tgz`;
    const integrity = `sha512-${createHash("sha512").update(body).digest("base64")}`;
    const dist = { tarball: new URL(path, url).href, integrity };
    const versions = { [version]: { ...manifest, dist } };
    const document = { name, "dist-tags": { latest: version }, versions };
    served.set(path, { body, type: "application/octet-stream" });
    served.set(`/${name}`, {
      body: Buffer.from(JSON.stringify(document)),
      type: "application/json",
    });
  }
  return {
    url,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
