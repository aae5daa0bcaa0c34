-- What completed chunks add up to is kept as it changes, so that a look at a job of 100,000 chunks that runs
-- costs what happened in the last seconds. By triggers, in the transaction that changes the chunk: no process
-- can forget it, one of an earlier release neither.
create table job_sum (
    job_id bigint not null references job on delete cascade,
    name text not null,
    value bigint not null,
    primary key (job_id, name)
);
comment on table job_sum is 'What the totals of the chunks of a job add up to, but for the changes in job_sum_change.';
comment on column job_sum.name is 'As in totals; of a reason errors. and the reason.';

-- No key and no constraint: a chunk that completes waits for nobody, and nobody for it.
create table job_sum_change (
    job_id bigint not null,
    gained jsonb,
    lost jsonb
);
comment on table job_sum_change is 'Changes of chunks that are not added to job_sum yet: the upkeep does it within seconds.';
comment on column job_sum_change.gained is 'Totals that a chunk has now; null: none.';
comment on column job_sum_change.lost is 'Totals that it had before; null: none.';
create index job_sum_change_of on job_sum_change (job_id);

-- The totals that are added up, by name.
create function sums_of(p_totals jsonb) returns table (name text, value bigint)
language sql immutable parallel safe as $$
    select n.name, (p_totals ->> n.name)::bigint
        from unnest(array['images_total', 'images_downloaded', 'images_valid', 'images_invalid',
            'images_failed', 'images_asked_again', 'duplicates_removed', 'bytes_in', 'bytes_out'])
            as n (name)
        where p_totals ? n.name
    union all
    select 'errors.' || e.key, e.value::bigint from jsonb_each_text(p_totals -> 'errors') e
$$;

-- Of a job that is being removed, or is gone, nothing is added up. The schema is named: people change rows
-- with other search paths.
create function note_sum_change() returns trigger language plpgsql as $$
declare
    gained jsonb := case when tg_op <> 'DELETE' then new.totals end;
    lost jsonb := case when tg_op <> 'INSERT' then old.totals end;
begin
    insert into chunk_handler.job_sum_change (job_id, gained, lost)
        select j.job_id, gained, lost from chunk_handler.job j
        where j.job_id = coalesce(new.job_id, old.job_id) and j.going_at is null;
    return null;
end $$;
create trigger chunk_gained after insert on chunk for each row
    when (new.totals is not null) execute function note_sum_change();
create trigger chunk_changed after update of totals on chunk for each row
    when (old.totals is distinct from new.totals) execute function note_sum_change();
create trigger chunk_gone after delete on chunk for each row
    when (old.totals is not null) execute function note_sum_change();

-- A job that goes takes its changes along: its number may come again.
create function forget_sum_changes() returns trigger language plpgsql as $$
begin
    delete from chunk_handler.job_sum_change where job_id = old.job_id;
    return null;
end $$;
create trigger job_gone after delete on job for each row execute function forget_sum_changes();

-- What there is. The triggers hold off whoever changes a chunk until this is committed. What ended jobs add
-- up to is known already.
insert into job_sum (job_id, name, value)
    select j.job_id, n.name, sum(n.value)
    from job j
    cross join lateral (
        select s.name, s.value from sums_of(j.sums || jsonb_build_object('errors', j.sums -> 'reasons')) s
        union all
        select s.name, s.value from chunk c cross join lateral sums_of(c.totals) s
        where c.job_id = j.job_id and j.sums is null and c.totals is not null) n
    group by j.job_id, n.name;

-- Adds changes to the sums, at most so many; how many there were.
create function fold_sums(p_limit bigint) returns bigint language sql as $$
    with taken as (
        delete from job_sum_change where ctid = any (array(
            select ctid from job_sum_change limit p_limit for update skip locked))
        returning job_id, gained, lost
    ), added as (
        insert into job_sum (job_id, name, value)
        select t.job_id, n.name, sum(n.value)
        from taken t
        join job j on j.job_id = t.job_id and j.going_at is null
        cross join lateral (
            select s.name, s.value from sums_of(t.gained) s
            union all
            select s.name, -s.value from sums_of(t.lost) s) n
        group by t.job_id, n.name
        -- In one order, for two that add at once.
        order by t.job_id, n.name
        on conflict (job_id, name) do update set value = job_sum.value + excluded.value
    )
    select count(*) from taken
$$;

create view job_sums as
select job_id, name, sum(value)::bigint as value
from (
    select job_id, name, value from job_sum
    union all
    select c.job_id, s.name, s.value from job_sum_change c cross join lateral sums_of(c.gained) s
    union all
    select c.job_id, s.name, -s.value from job_sum_change c cross join lateral sums_of(c.lost) s) n
group by job_id, name;

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

-- Chunks that want somebody, without a look at those that completed.
create index chunk_error on chunk (job_id, chunk_index) where error_code is not null;

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
    state in ('pending', 'processing') as is_open
from chunk;
