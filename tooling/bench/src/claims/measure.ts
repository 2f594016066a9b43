import { openWorld } from "./scenario.ts";
import { scenarios } from "./scenarios.ts";

// One scenario of the build that this file belongs to: node measure.ts <scenario> <url of a server> [--quick]
// The last line printed is its figures.

const [name, serverUrl, size] = process.argv.slice(2);
const scenario = scenarios.find((known) => known.name === name);
if (scenario === undefined || serverUrl === undefined) {
  throw new Error(`This build measures ${scenarios.map((known) => known.name).join(", ")}.`);
}
const world = openWorld(serverUrl, size === "--quick");
try {
  console.log(JSON.stringify(await scenario.measure(world)));
} finally {
  await world.close();
}
