-- What completed chunks add up to is kept as it changes, so that a look at a job of 100,000 chunks that runs
-- costs what happened in the last seconds. By triggers, in the transaction that changes the chunk: no process
-- can forget it, one of an earlier release neither.

-- Who reads a view in an open transaction holds this up, and it everybody who changes a chunk: not for long.
set local lock_timeout = '2s';

-- Rows of a name add up. No key and no constraint: a chunk that completes waits for nobody, and nobody for it.
create table job_sum (
    job_id bigint not null,
    name text not null,
    value bigint not null,
    is_new boolean not null default true
);
comment on table job_sum is 'What the totals of the chunks of a job add up to: read view job_sums. Made anew by recount_sums.';
comment on column job_sum.name is 'As in totals; of a reason errors. and the reason.';
comment on column job_sum.is_new is 'A change that the upkeep has not added to the others yet: it does within seconds.';
create index job_sum_of on job_sum (job_id);
create index job_sum_new on job_sum (job_id) where is_new;

-- A publication of all tables lets only such tables lose rows that have no key.
alter table job_sum replica identity full;
alter table job_touched replica identity full;

-- The totals that are added up, by name. What is no whole number is none: a row that was changed by hand may
-- hold up nobody.
create function sums_of(p_totals jsonb) returns table (name text, value bigint)
language sql immutable parallel safe as $$
    select n.name, n.value::bigint
    from (
        select t.name, case jsonb_typeof(t.value) when 'number' then t.value::numeric end as value
        from (
            select k.name, p_totals -> k.name as value
            from unnest(array['images_total', 'images_downloaded', 'images_valid', 'images_invalid',
                'images_failed', 'images_asked_again', 'duplicates_removed', 'bytes_in', 'bytes_out'])
                as k (name)
            union all
            select 'errors.' || e.key, e.value
            from jsonb_each(case jsonb_typeof(p_totals -> 'errors') when 'object'
                then p_totals -> 'errors' end) e) t) n
    where n.value <> 0 and n.value = trunc(n.value) and abs(n.value) < 1e15
$$;

create view job_sums as
select job_id, name, sum(value)::bigint as value from job_sum group by job_id, name;

create or replace view job_count as
select j.job_id, n.chunks, n.above_total, n.pending_chunks, n.active_chunks, n.completed_chunks,
    n.failed_chunks, n.started,
    t.images_total, t.images_downloaded, t.images_valid, t.duplicates_removed, n.late_duplicates,
    t.images_asked_again, t.images_failed, t.images_invalid, t.bytes_in, t.bytes_out,
    t.images_total - n.images_of_others + n.items_done as items_done,
    n.updated_at
from job j
cross join lateral (
    select count(*)::integer as chunks,
        count(*) filter (where j.total_chunks is null or chunk_index >= j.total_chunks)::integer
            as above_total,
        count(*) filter (where state = 'pending')::integer as pending_chunks,
        count(*) filter (where state = 'processing')::integer as active_chunks,
        count(*) filter (where state = 'completed')::integer as completed_chunks,
        count(*) filter (where state = 'failed')::integer as failed_chunks,
        coalesce(bool_or(fence > 0), false) as started,
        coalesce(sum(jsonb_array_length(late_duplicates)), 0)::bigint as late_duplicates,
        -- Of chunks that run again, and have what they completed with until they complete again.
        coalesce(sum((totals ->> 'images_total')::bigint) filter (where state <> 'completed'), 0)::bigint
            as images_of_others,
        coalesce(sum(items_done) filter (where state = 'processing' and progress_fence = fence), 0)::bigint
            as items_done,
        max(updated_at) as updated_at
    from chunk c where c.job_id = j.job_id) n
cross join lateral (
    select coalesce(sum(value) filter (where name = 'images_total'), 0)::bigint as images_total,
        coalesce(sum(value) filter (where name = 'images_downloaded'), 0)::bigint as images_downloaded,
        coalesce(sum(value) filter (where name = 'images_valid'), 0)::bigint as images_valid,
        coalesce(sum(value) filter (where name = 'duplicates_removed'), 0)::bigint as duplicates_removed,
        coalesce(sum(value) filter (where name = 'images_asked_again'), 0)::bigint as images_asked_again,
        coalesce(sum(value) filter (where name = 'images_failed'), 0)::bigint as images_failed,
        coalesce(sum(value) filter (where name = 'images_invalid'), 0)::bigint as images_invalid,
        coalesce(sum(value) filter (where name = 'bytes_in'), 0)::bigint as bytes_in,
        coalesce(sum(value) filter (where name = 'bytes_out'), 0)::bigint as bytes_out
    from job_sums s where s.job_id = j.job_id) t;

create or replace view job_reasons as
select j.job_id, r.reason, r.images
from job j
cross join lateral (
    select k.key as reason, k.value::bigint as images
    from jsonb_each_text(j.sums -> 'reasons') k
    union all
    select substr(s.name, length('errors.') + 1), s.value
    from job_sums s
    where s.job_id = j.job_id and j.sums is null and s.name like 'errors.%' and s.value <> 0) r;

create or replace view chunk_status as
select job_id, chunk_index, state::text as status, attempt, expiries, fence, shard_fence, owner,
    lease_until, not_before, priority,
    (totals ->> 'images_valid')::bigint as images_valid,
    (totals ->> 'duplicates_removed')::bigint as duplicates_removed,
    jsonb_array_length(late_duplicates) as late_duplicates,
    shard_blob, manifest_blob, error_code, error_message, updated_at,
    -- Of a chunk that runs the first time what its process says.
    coalesce((totals ->> 'images_total')::bigint,
        case when state = 'processing' and progress_fence = fence then items_total end) as images_total,
    (totals ->> 'images_failed')::bigint as images_failed,
    (totals ->> 'images_invalid')::bigint as images_invalid,
    (totals ->> 'bytes_in')::bigint as bytes_in,
    (totals ->> 'bytes_out')::bigint as bytes_out,
    -- Null: nothing of it is under way, or its process has not said so yet.
    case state when 'completed' then (totals ->> 'images_total')::bigint
        when 'processing' then case progress_fence when fence then items_done end end as items_done,
    case when state = 'processing' and progress_fence = fence then temp_bytes end as temp_bytes,
    lost_duplicates,
    -- As the index says it: a status, which is text, it cannot be asked for.
    state in ('pending', 'processing') as is_open,
    reset_fence
from chunk;

-- Chunks that want somebody, without a look at those that completed.
create index chunk_error on chunk (job_id, chunk_index) where error_code is not null;

-- Of a job that is being removed nothing is added up. The schema is named: people change rows with other
-- search paths.
create function note_sums() returns trigger language plpgsql as $$
begin
    if tg_op <> 'INSERT' then
        insert into chunk_handler.job_sum (job_id, name, value)
            select j.job_id, s.name, -s.value
            from chunk_handler.job j cross join lateral chunk_handler.sums_of(old.totals) s
            where j.job_id = old.job_id and j.going_at is null;
    end if;
    if tg_op <> 'DELETE' then
        insert into chunk_handler.job_sum (job_id, name, value)
            select new.job_id, s.name, s.value from chunk_handler.sums_of(new.totals) s;
    end if;
    return null;
end $$;
create trigger chunk_gained after insert on chunk for each row
    when (new.totals is not null) execute function note_sums();
create trigger chunk_changed after update of totals, job_id on chunk for each row
    when ((old.totals, old.job_id) is distinct from (new.totals, new.job_id))
    execute function note_sums();
create trigger chunk_gone after delete on chunk for each row
    when (old.totals is not null) execute function note_sums();

-- A job that goes takes its sums along: its number may come again.
create function forget_job_sums() returns trigger language plpgsql as $$
begin
    delete from chunk_handler.job_sum where job_id = old.job_id;
    return null;
end $$;
create trigger job_gone after delete on job for each row execute function forget_job_sums();
create function forget_all_sums() returns trigger language plpgsql as $$
begin
    delete from chunk_handler.job_sum;
    return null;
end $$;
create trigger chunks_truncated after truncate on chunk
    for each statement execute function forget_all_sums();

-- What there is, while the triggers hold off whoever changes a chunk. What ended jobs add up to is known.
insert into job_sum (job_id, name, value, is_new)
    select j.job_id, n.name, sum(n.value), false
    from job j
    cross join lateral (
        select s.name, s.value
        from sums_of(j.sums || jsonb_build_object('errors', j.sums -> 'reasons')) s
        union all
        select s.name, s.value from chunk c cross join lateral sums_of(c.totals) s
        where c.job_id = j.job_id and j.sums is null and c.totals is not null) n
    group by j.job_id, n.name;

-- Adds at most so many changes to the others of their jobs; how many there were. It waits for nobody: what
-- somebody holds is left for the next time, and two rows of a name are as good as one. Nobody removes a job
-- meanwhile, who would not see what is added.
create function fold_sums(p_limit bigint) returns bigint language sql as $$
    with free as materialized (
        select j.job_id from job j
        where j.job_id in (select s.job_id from job_sum s where s.is_new) and j.going_at is null
        for key share skip locked
    ), changes as (
        delete from job_sum where ctid = any (array(
            select s.ctid from job_sum s where s.is_new and s.job_id in (select job_id from free)
            limit p_limit for update skip locked))
        returning job_id, name, value
    ), others as (
        delete from job_sum where ctid = any (array(
            select s.ctid from job_sum s
            where not s.is_new and s.job_id = any (array(select distinct job_id from changes))
            for update skip locked))
        returning job_id, name, value
    ), folded as (
        insert into job_sum (job_id, name, value, is_new)
        select job_id, name, sum(value), false
        from (select * from changes union all select * from others) n
        group by job_id, name having sum(value) <> 0
    )
    select count(*) from changes
$$;

-- Counts the sums of a job anew, or null: of all; for people, after rows came in past the triggers. Who
-- changes a chunk waits meanwhile.
create function recount_sums(p_job bigint) returns void language plpgsql
set search_path from current as $$
begin
    -- Job before chunk, as everybody.
    perform from job where p_job is null or job_id = p_job order by job_id for no key update;
    lock table chunk, job_sum in share row exclusive mode;
    delete from job_sum where p_job is null or job_id = p_job;
    insert into job_sum (job_id, name, value, is_new)
        select c.job_id, s.name, sum(s.value), false
        from chunk c cross join lateral sums_of(c.totals) s
        where c.totals is not null and (p_job is null or c.job_id = p_job)
        group by c.job_id, s.name;
    -- Counted anew by the upkeep.
    update job set sums = null where sums is not null and (p_job is null or job_id = p_job);
end $$;
