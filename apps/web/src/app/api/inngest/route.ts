import { background } from "../../../background.ts";

export const dynamic = "force-dynamic";
/** Seconds that one step may take on platforms with a limit: the host's `hostTimeoutMs`. */
export const maxDuration = 60;

export const { inngest: GET, inngest: POST, inngest: PUT } = background;
