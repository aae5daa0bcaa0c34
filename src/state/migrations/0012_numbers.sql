-- The numbers, once, for whoever shows them: what chunks and jobs add up to, why URLs are not in the
-- dataset, how far a chunk is. Who may read the views needs no table.

-- How far the claim is that works on a chunk, as its process says with each renewal. Not taken back when
-- a claim ends: what another claim than the present one said is not shown.
alter table chunk
    add column progress_fence bigint,
    add column items_done integer,
    add column items_total integer,
    add column temp_bytes bigint;
comment on column chunk.progress_fence is 'The claim whose process said the three columns below; null: none did. Below fence: an earlier one.';
comment on column chunk.items_done is 'URLs that had a verdict at the last renewal; null with progress_fence, and while the list is not read.';
comment on column chunk.items_total is 'URLs of its list; null with items_done.';
comment on column chunk.temp_bytes is 'Temp bytes that it held at the last renewal; null with progress_fence.';

alter table attempt add column slot_no integer;
comment on column attempt.slot_no is 'The slot that the claim held; null: under way (the chunk has it), or ended before this column was.';
-- For the last half hour: a few kB, and nothing that a claim waits for.
create index attempt_claimed on attempt using brin (claimed_at) with (pages_per_range = 32);

-- Ends the claim of a locked chunk that is processing: slot and attempt.
create or replace function end_claim(p chunk, p_outcome attempt_outcome, p_error_code text,
    p_temp_peak bigint) returns void language plpgsql as $$
begin
    update slot set job_id = null, chunk_index = null
        where slot_no = p.slot_no and job_id = p.job_id and chunk_index = p.chunk_index;
    -- After a restore the row of this attempt may be another claim's.
    update attempt set finished_at = clock_timestamp(), outcome = p_outcome,
            error_code = p_error_code, temp_peak_bytes = p_temp_peak, slot_no = p.slot_no
        where job_id = p.job_id and chunk_index = p.chunk_index and fence = p.fence
            and token is not distinct from p.token;
end $$;

alter table fleet add column paused_since timestamptz;
comment on column fleet.paused_since is 'When the latest pause began; null: there was none.';

-- By trigger, so that a pause of an earlier release counts too.
create function note_pause() returns trigger language plpgsql as $$
begin
    new.paused_since := clock_timestamp();
    return new;
end $$;
create trigger fleet_paused before update of paused_until on fleet for each row
    when (new.paused_until > clock_timestamp()
        and (old.paused_until > clock_timestamp()) is not true)
    execute function note_pause();

create or replace view capacity as
select n.active_chunks,
    f.max_chunks,
    greatest(f.max_chunks - n.active_chunks, 0) as available,
    n.active_chunks::double precision / f.max_chunks as utilization,
    f.environment,
    f.chunk_size,
    f.storage_limit_mb,
    case when f.paused_until > clock_timestamp() then f.paused_until end as paused_until,
    case when f.paused_until > clock_timestamp() then f.paused_since end as paused_since,
    f.storage
from fleet f
cross join (select count(job_id)::integer as active_chunks from slot) n;

-- What the chunks of an ended job add up to does not change: it is counted once and kept.
alter table job add column sums jsonb,
    add constraint only_an_ended_job_keeps_sums check (sums is null or ended_at is not null);
comment on column job.sums is 'A row of view job_count, and its reasons; null: not over, or not counted yet. Forgotten when the job is open again, and when it gets or loses a chunk.';
create index job_uncounted on job (ended_at) where ended_at is not null and sums is null;

create function forget_sums() returns trigger language plpgsql as $$
begin
    new.sums := null;
    return new;
end $$;
create trigger job_reopened before update of ended_at on job for each row
    when (new.ended_at is null and old.ended_at is not null)
    execute function forget_sums();

-- A cancelled job takes chunks after its end, as failed ones. The schema is named: people change rows
-- with other search paths.
create function forget_sums_of_chunks() returns trigger language plpgsql as $$
begin
    update chunk_handler.job set sums = null
        where sums is not null and job_id in (select job_id from changed);
    return null;
end $$;
create trigger chunks_came after insert on chunk referencing new table as changed
    for each statement execute function forget_sums_of_chunks();
create trigger chunks_went after delete on chunk referencing old table as changed
    for each statement execute function forget_sums_of_chunks();

-- The chunks of each job, counted now. Not for people: view job_progress is.
create view job_count as
select j.job_id, n.*
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
        coalesce(sum((totals ->> 'images_total')::bigint), 0)::bigint as images_total,
        coalesce(sum((totals ->> 'images_downloaded')::bigint), 0)::bigint as images_downloaded,
        coalesce(sum((totals ->> 'images_valid')::bigint), 0)::bigint as images_valid,
        coalesce(sum((totals ->> 'duplicates_removed')::bigint), 0)::bigint as duplicates_removed,
        coalesce(sum(jsonb_array_length(late_duplicates)), 0)::bigint as late_duplicates,
        coalesce(sum((totals ->> 'images_asked_again')::bigint), 0)::bigint as images_asked_again,
        coalesce(sum((totals ->> 'images_failed')::bigint), 0)::bigint as images_failed,
        coalesce(sum((totals ->> 'images_invalid')::bigint), 0)::bigint as images_invalid,
        coalesce(sum((totals ->> 'bytes_in')::bigint), 0)::bigint as bytes_in,
        coalesce(sum((totals ->> 'bytes_out')::bigint), 0)::bigint as bytes_out,
        coalesce(sum(case state when 'completed' then (totals ->> 'images_total')::bigint
            when 'processing' then case progress_fence when fence then items_done end end), 0)::bigint
            as items_done,
        max(updated_at) as updated_at
    from chunk c where c.job_id = j.job_id) n;

-- Of an open job all indexes below the total count, sent or not, and those above it that were sent;
-- of one that takes no more only what is there.
create or replace view job_progress as
select j.job_id,
    case when j.ended_as is not null then j.ended_as
         when j.cancelled_at is not null then 'cancelled'
         when n.started then 'running'
         else 'pending' end as status,
    case when j.is_complete then e.chunks
        else greatest(j.total_chunks, e.chunks) end::integer as total_chunks,
    n.pending_chunks, n.active_chunks, n.completed_chunks, n.failed_chunks,
    n.images_total, n.images_downloaded, n.images_valid, n.duplicates_removed, n.late_duplicates,
    case when e.chunks = 0 and j.is_complete then 100.0::double precision
         else 100.0::double precision * (n.completed_chunks + n.failed_chunks)
             / greatest(e.chunks, 1) end as progress,
    j.created_at,
    greatest(j.updated_at, n.updated_at) as updated_at,
    (e.chunks - n.chunks)::integer as missing_chunks,
    case when j.ended_at is null then j.end_error end as end_error,
    n.images_asked_again,
    n.images_failed, n.images_invalid, n.bytes_in, n.bytes_out, n.items_done,
    -- Null: made of messages, or registered by an earlier release.
    (j.submitted ->> 'images')::bigint + coalesce((select sum(x.images) from extension x
        where x.job_id = j.job_id), 0)::bigint as images_submitted,
    j.ended_at
from (select *, closed_at is not null or cancelled_at is not null or ended_at is not null
    as is_complete from job) j
cross join lateral (
    select k.* from jsonb_populate_record(null::job_count, j.sums) k where j.sums is not null
    union all
    select c.* from job_count c where c.job_id = j.job_id and j.sums is null) n
cross join lateral (
    select case when j.is_complete then n.chunks
        else coalesce(j.total_chunks, 0) + n.above_total end as chunks) e;

-- Why URLs of a job are not in its dataset, and of how many that goes.
create view job_reasons as
select j.job_id, r.reason, r.images
from job j
cross join lateral (
    select k.key as reason, k.value::bigint as images
    from jsonb_each_text(j.sums -> 'reasons') k
    union all
    select k.key, sum(k.value::bigint)::bigint
    from chunk c cross join lateral jsonb_each_text(c.totals -> 'errors') k
    where c.job_id = j.job_id and j.sums is null
    group by k.key) r;

-- Counts an ended job that is not counted yet, this one or the last one that ended, and keeps it; which,
-- or null: there is none. The row is locked first: nothing of the job changes while it is counted.
create function keep_sums(p_job bigint) returns bigint language plpgsql as $$
declare
    found_job bigint;
begin
    select job_id into found_job from job
        where ended_at is not null and sums is null and going_at is null
            and (p_job is null or job_id = p_job)
        order by ended_at desc limit 1 for no key update skip locked;
    if found then
        update job set sums = (select to_jsonb(c) from job_count c where c.job_id = found_job)
            || jsonb_build_object('reasons', (
                select coalesce(jsonb_object_agg(r.reason, r.images), '{}')
                from job_reasons r where r.job_id = found_job))
            where job_id = found_job;
    end if;
    return found_job;
end $$;

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
    lost_duplicates
from chunk;

create or replace view attempt_log as
select job_id, chunk_index, fence, owner, invocation_id, claimed_at, finished_at,
    outcome::text as outcome, error_code, temp_peak_bytes,
    case when finished_at is not null then slot_no
        else (select c.slot_no from chunk c where c.job_id = a.job_id
            and c.chunk_index = a.chunk_index and c.token = a.token) end as slot_no
from attempt a;

-- What a chunk completed with; nulls: it has not.
create view chunk_result as
select job_id, chunk_index, totals, shard_blob, shard_bytes, shard_sha256, shard_samples,
    late_duplicates
from chunk;

-- What a chunk is to do. Inline URLs are in it, with their queries.
create view chunk_message as
select job_id, chunk_index, message from chunk;

-- Lists by which jobs grew.
create view job_extension as
select job_id, source_sha256, first_chunk, chunks, images, images_asked_again, options, created_at
from extension;
