import { parseTenantId } from "@evenkeel/core";

import type { Connections } from "./connections.ts";
import type { SqlClient, SqlValue } from "./database.ts";
import { mayTakeTenantRole } from "./grants.ts";
import { isUnreachable } from "./ledger-error.ts";

/** Whose rows a repository may touch. */
export interface Scope {
  /** The one tenant that it reaches; `undefined`: every tenant. */
  readonly tenantId?: string;
  /**
   * Runs one statement within the scope. In it, `:tenant` stands for the condition on a tenant's id, as in
   * `WHERE :tenant(job.tenant_id)`; parameters count from $1.
   */
  query<Row extends object>(text: string, values?: readonly SqlValue[]): Promise<Row[]>;
  /**
   * As `query`, but held to the tenant by the statement's own conditions alone: it returns keys of rows, which `query`
   * then reads. Behind row-level security Postgres looks up no enum in an index, as its comparison might tell what it
   * compares: a list by status would read all that its tenant ever had.
   */
  findKeys<Row extends object>(text: string, values?: readonly SqlValue[]): Promise<Row[]>;
}

/** A host that falls silent within the transaction must not leave it open: the settings end with it. */
const enterTenant = `
SELECT set_config('role', 'evenkeel_tenant', true), set_config('evenkeel.tenant_id', $1, true),
  set_config('idle_in_transaction_session_timeout', '30s', true)`;

/** Returns a scope that sees every tenant. */
export function everyTenant(sql: SqlClient): Scope {
  const query: Scope["query"] = (text, values) =>
    sql.query(text.replaceAll(tenantCondition, "true"), values);
  return { query, findKeys: query };
}

/**
 * Returns a scope of one tenant. Its statements ask for that tenant's rows, and where row-level security is on, the
 * database shows them no others: each runs in a transaction of its own under the role `evenkeel_tenant`.
 *
 * @throws InputError `invalid_tenant`.
 */
export function oneTenant(
  connections: Connections,
  rowSecurity: RowSecurity,
  tenant: string,
): Scope {
  const tenantId = parseTenantId(tenant);
  return {
    tenantId,
    findKeys: async <Row extends object>(text: string, values: readonly SqlValue[] = []) => {
      const scoped = askFor(tenantId, text, values);
      if (scoped.text === text) throw new Error("A search for keys does not ask for its tenant.");
      return connections.query<Row>(scoped.text, scoped.values);
    },
    query: async <Row extends object>(text: string, values: readonly SqlValue[] = []) => {
      const { text: scoped, values: parameters } = askFor(tenantId, text, values);
      if (!(await rowSecurity.isEnforced())) {
        return connections.query<Row>(scoped, parameters);
      }
      return connections.hold(async (sql) => {
        try {
          await sql.query("BEGIN");
          await sql.query(enterTenant, [tenantId]);
          const rows = await sql.query<Row>(scoped, parameters);
          await sql.query("COMMIT");
          return rows;
        } catch (error) {
          // Behind a pooler the server's connection outlives this one.
          if (!isUnreachable(error)) await sql.query("ROLLBACK").catch(() => {});
          throw error;
        }
      });
    },
  };
}

/**
 * Returns a scope of one tenant within a caller's transaction, under whatever role that has: its statements ask for
 * that tenant's rows.
 *
 * @throws InputError `invalid_tenant`.
 */
export function oneTenantWithin(sql: SqlClient, tenant: string): Scope {
  const tenantId = parseTenantId(tenant);
  const query: Scope["query"] = async (text, values = []) => {
    const scoped = askFor(tenantId, text, values);
    return sql.query(scoped.text, scoped.values);
  };
  return { query, findKeys: query };
}

/** Puts the condition on the tenant into a statement, with the tenant as its last parameter. */
function askFor(
  tenantId: string,
  text: string,
  values: readonly SqlValue[],
): { readonly text: string; readonly values: readonly SqlValue[] } {
  const condition = `($1 = $${values.length + 1}::text)`;
  const scoped = text.replaceAll(tenantCondition, (_, column: string) =>
    condition.replace("$1", () => column),
  );
  return { text: scoped, values: scoped === text ? values : [...values, tenantId] };
}

/** Whether the database keeps tenants apart by itself. */
export interface RowSecurity {
  /** Returns whether row-level security is on and this user may take the tenants' role. Asks the database once. */
  isEnforced(): Promise<boolean>;
}

/**
 * Creates what asks once per ledger whether row-level security is enforced.
 *
 * @param onNotEnforced Called when it is not: the statements' own conditions then keep tenants apart alone.
 */
export function createRowSecurity(sql: SqlClient, onNotEnforced: () => void): RowSecurity {
  let enforced: Promise<boolean> | undefined;
  const ask = async (): Promise<boolean> => {
    const [row] = await sql.query<{ is_enforced: boolean }>(
      `SELECT EXISTS (
         SELECT FROM pg_roles AS tenant_role WHERE tenant_role.rolname = 'evenkeel_tenant'
           AND ${mayTakeTenantRole}
       ) AND EXISTS (
         SELECT FROM pg_policies WHERE schemaname = 'evenkeel' AND policyname = 'one_tenant'
       ) AS is_enforced`,
    );
    const isEnforced = row?.is_enforced === true;
    if (!isEnforced) onNotEnforced();
    return isEnforced;
  };
  return {
    isEnforced: () => {
      enforced ??= ask().catch((error: unknown) => {
        enforced = undefined;
        throw error;
      });
      return enforced;
    },
  };
}

const tenantCondition = /:tenant\(([^)]+)\)/gu;
