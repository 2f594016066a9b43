import { background } from "../../../../background.ts";

export const dynamic = "force-dynamic";

const { cronOfSchedule: tick } = background;

// Every method, so that the handler itself says which are allowed.
export {
  tick as DELETE,
  tick as GET,
  tick as HEAD,
  tick as OPTIONS,
  tick as PATCH,
  tick as POST,
  tick as PUT,
};
