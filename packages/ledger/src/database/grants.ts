import type { SqlClient } from "./database.ts";
import { notMigrated } from "./ledger-error.ts";

/** What the ledger's database user is not granted, or is granted in a way that does harm. */
export interface GrantProblem {
  readonly code:
    | "schema"
    | "table"
    | "sequence"
    | "later_tables"
    | "tenant_role_missing"
    | "tenant_role_not_granted"
    | "tenant_role_inherited"
    | "row_security_off";
  /** The table, sequence, schema or role that it is about. */
  readonly subject: string;
  /** One sentence for people. */
  readonly message: string;
  /** The SQL that repairs it, for the owner of the tables or an administrator to run. */
  readonly repair: string;
}

interface Row {
  readonly code: GrantProblem["code"];
  readonly subject: string;
  readonly rights: string;
  readonly user: string;
  readonly grantRepair: string;
  readonly revokeRepair: string;
}

/** The condition that this user may take the role `tenant_role`: from PostgreSQL 16 on a member may be denied that. */
export const mayTakeTenantRole: string = `pg_has_role(current_user, tenant_role.oid,
  CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)`;

const statement = `
WITH schema AS (
  SELECT oid, pg_get_userbyid(nspowner) AS owner FROM pg_namespace WHERE nspname = 'evenkeel'
), relation AS (
  SELECT class.oid, class.relname::text AS name, class.relkind AS kind, class.relowner AS owner, class.relrowsecurity
  FROM pg_class AS class JOIN schema ON class.relnamespace = schema.oid
  WHERE class.relkind IN ('r', 'S')
), owner AS (
  SELECT owner AS oid, pg_has_role(current_user, owner, 'USAGE') AS is_user FROM relation
  WHERE name = 'background_job'
), problem AS (
  SELECT 1 AS place, 'schema' AS code, 'evenkeel' AS subject, 'USAGE' AS rights
  FROM schema WHERE NOT has_schema_privilege(schema.oid, 'USAGE')
  UNION ALL
  SELECT 2, 'table', relation.name, string_agg(wanted.name, ', ' ORDER BY wanted.place)
  FROM relation CROSS JOIN (
    VALUES (1, 'SELECT'), (2, 'INSERT'), (3, 'UPDATE'), (4, 'DELETE')
  ) AS wanted (place, name)
  WHERE relation.kind = 'r' AND (relation.name <> '_prisma_migrations' OR wanted.name = 'SELECT')
    AND NOT has_table_privilege(relation.oid, wanted.name)
  GROUP BY relation.name
  UNION ALL
  SELECT 3, 'sequence', relation.name, 'USAGE'
  FROM relation
  -- A table is no sequence, whichever condition is looked at first.
  WHERE CASE WHEN relation.kind = 'S' THEN NOT has_sequence_privilege(relation.oid, 'USAGE') END
  UNION ALL
  SELECT 4, 'later_tables', 'evenkeel', 'SELECT, INSERT, UPDATE, DELETE'
  FROM owner CROSS JOIN schema
  WHERE NOT owner.is_user AND NOT EXISTS (
    SELECT FROM pg_default_acl AS later CROSS JOIN LATERAL aclexplode(later.defaclacl) AS granted
    WHERE later.defaclrole = owner.oid AND later.defaclnamespace = schema.oid AND later.defaclobjtype = 'r'
      AND pg_has_role(current_user, nullif(granted.grantee, 0), 'USAGE') AND granted.privilege_type = 'INSERT'
  )
  UNION ALL
  SELECT 5, 'tenant_role_missing', 'evenkeel_tenant', ''
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'evenkeel_tenant')
  UNION ALL
  SELECT 6, 'tenant_role_not_granted', 'evenkeel_tenant', ''
  FROM pg_roles AS tenant_role WHERE tenant_role.rolname = 'evenkeel_tenant' AND NOT ${mayTakeTenantRole}
  UNION ALL
  SELECT 7, 'tenant_role_inherited', 'evenkeel_tenant', ''
  FROM pg_roles AS tenant_role CROSS JOIN owner
  WHERE tenant_role.rolname = 'evenkeel_tenant' AND NOT owner.is_user
    AND pg_has_role(current_user, tenant_role.oid, 'USAGE')
  UNION ALL
  SELECT 8, 'row_security_off', relation.name, ''
  FROM relation
  JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid AND attribute.attname = 'tenant_id'
  WHERE relation.kind = 'r' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'evenkeel_tenant')
    AND NOT (relation.relrowsecurity AND EXISTS (
      SELECT FROM pg_policy AS policy WHERE policy.polrelid = relation.oid AND policy.polname = 'one_tenant'
    ))
)
SELECT code, subject, rights, current_user::text AS "user",
  format('SELECT evenkeel.grant_to(%L);', current_user) AS "grantRepair",
  format('REVOKE evenkeel_tenant FROM %I; SELECT evenkeel.grant_to(%L);', current_user, current_user)
    AS "revokeRepair"
FROM problem ORDER BY place, subject`;

/**
 * Returns what keeps the ledger's database user from working, or from keeping tenants apart by row-level security;
 * nothing where all is well. It reads catalogs only, which needs no rights.
 *
 * @throws LedgerError `not_migrated`.
 */
export async function findGrantProblems(sql: SqlClient): Promise<GrantProblem[]> {
  const tables = await sql.query(
    `SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
     WHERE nspname = 'evenkeel' AND relname = 'background_job'`,
  );
  if (tables.length === 0) throw notMigrated();
  return (await sql.query<Row>(statement)).map(describe);
}

function describe(row: Row): GrantProblem {
  const { code, subject, rights, user, grantRepair, revokeRepair } = row;
  const problem = (message: string, repair = grantRepair): GrantProblem => {
    return { code, subject, message, repair };
  };
  switch (code) {
    case "schema":
      return problem(`User ${user} may not use the schema ${subject}.`);
    case "table":
    case "sequence":
      return problem(`User ${user} lacks ${rights} on ${code} evenkeel.${subject}.`);
    case "later_tables":
      return problem(`User ${user} would have no rights on tables that later migrations add.`);
    case "tenant_role_missing":
      return problem(
        `There is no role ${subject}, so that row-level security is off.`,
        `CREATE ROLE evenkeel_tenant NOLOGIN; SELECT evenkeel.enable_tenant_isolation(); ${grantRepair}`,
      );
    case "tenant_role_not_granted":
      return problem(
        `User ${user} may not take the role ${subject}, so that row-level security is off.`,
      );
    case "tenant_role_inherited":
      return problem(
        `User ${user} inherits the rights of ${subject}, and every statement is checked against its policies.`,
        revokeRepair,
      );
    case "row_security_off":
      return problem(
        `Table evenkeel.${subject} has no policy that keeps tenants apart.`,
        "SELECT evenkeel.enable_tenant_isolation();",
      );
  }
}
