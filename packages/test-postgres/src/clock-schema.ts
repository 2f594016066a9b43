// Functions of these names ahead of Postgres' own on the search path. Within a command time passes by a
// millisecond per look at the clock, so that what is written later has a later time.

/**
 * Gives a database a clock that stands still: `update clock.state set moved_to = …` moves it. Sessions that were open
 * before keep the real time.
 */
export const clockStatements: string = `
create schema clock;
create sequence clock.looks minvalue 0;
create table clock.state (moved_to timestamptz not null);
insert into clock.state values (pg_catalog.now());
create function clock.clock_timestamp() returns timestamptz language sql volatile as
  $$ select moved_to + nextval('clock.looks') * interval '1 millisecond' from clock.state $$;
create function clock.now() returns timestamptz language sql stable as
  $$ select moved_to + last_value * interval '1 millisecond' from clock.state, clock.looks $$;
create function clock.statement_timestamp() returns timestamptz language sql stable as
  $$ select clock.now() $$;
create function clock.transaction_timestamp() returns timestamptz language sql stable as
  $$ select clock.now() $$;
do $do$
declare defaulted record;
begin
  for defaulted in select table_schema, table_name, column_name, column_default from information_schema.columns
    where table_schema not in ('clock', 'information_schema', 'pg_catalog')
      and column_default ~ 'CURRENT_TIMESTAMP|now\\(\\)|clock_timestamp\\(\\)'
  loop
    execute format('alter table %I.%I alter column %I set default %s',
      defaulted.table_schema, defaulted.table_name, defaulted.column_name,
      regexp_replace(defaulted.column_default, 'CURRENT_TIMESTAMP|now\\(\\)|clock_timestamp\\(\\)',
        'clock.clock_timestamp()', 'g'));
  end loop;
  execute format('alter database %I set search_path = clock, pg_catalog, public', current_database());
end $do$`;
