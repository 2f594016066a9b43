import { webHost } from "../../../../host.ts";

export const dynamic = "force-dynamic";

const tick = (request: Request): Promise<Response> => webHost().cronOfSchedule(request);

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
