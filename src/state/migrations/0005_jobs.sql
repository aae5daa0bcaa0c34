-- The end of a job counts indexes; it is looked for where something changed; a submit is kept as it
-- was registered.

alter type registration add value if not exists 'job_closed';
alter type registration add value if not exists 'other_source';
alter type claim_outcome add value if not exists 'job_closed';
alter type claim_outcome add value if not exists 'other_source';

alter table job add column submitted jsonb;
comment on column job.submitted is 'Options and sizes of the submit that registered it; null: the job is made of messages, or an earlier release registered it.';

-- Whether a message names other URLs than the known one of its chunk. Equal texts are not even
-- parsed. Without a message, or without a known one, there is nothing to differ.
create function other_source(p_known text, p_message text) returns boolean
language plpgsql immutable as $$
begin
    if p_known is null or p_message is null or p_known = p_message then
        return false;
    end if;
    -- A NUL is allowed in JSON and not in jsonb.
    return replace(p_known, '\u0000', '\ufffd')::jsonb -> 'source'
        is distinct from replace(p_message, '\u0000', '\ufffd')::jsonb -> 'source';
exception when data_exception then
    -- The registered text cannot be read: its claim says so.
    return false;
end $$;

-- Makes a chunk durable: registered (new), known, or cancelled (stored as failed, also when the
-- cancelled job has ended: a retry reopens it with all its chunks). Refused, and
-- nothing changes: other_source, job_ended, job_closed. Without p_message (it has no source) only a
-- known chunk counts: else no_source.
create or replace function register(p_job bigint, p_index integer, p_total integer,
    p_priority smallint, p_message text) returns registration language plpgsql as $$
declare
    j job;
    known text;
begin
    if p_message is null then
        return case when exists (select from chunk where job_id = p_job
            and chunk_index = p_index) then 'known' else 'no_source' end::registration;
    end if;
    insert into job (job_id, total_chunks) values (p_job, p_total) on conflict do nothing;
    -- From here on nobody else adds a chunk to the job, ends it or closes it.
    select * into j from job where job_id = p_job for no key update;
    select message into known from chunk where job_id = p_job and chunk_index = p_index;
    if other_source(known, p_message) then
        return 'other_source';
    elsif known is null and j.ended_at is not null and j.ended_as <> 'cancelled' then
        return 'job_ended';
    elsif known is null and j.closed_at is not null then
        return 'job_closed';
    end if;
    if known is null then
        insert into chunk (job_id, chunk_index, priority, message, woken_at, state, error_code,
                error_message)
            values (p_job, p_index, p_priority, p_message, clock_timestamp(),
                case when j.cancelled_at is null then 'pending' else 'failed' end::chunk_state,
                case when j.cancelled_at is not null then 'cancelled' end,
                case when j.cancelled_at is not null then 'the job was cancelled' end);
    end if;
    -- A job that ended or was closed keeps the total that it has.
    update job set total_chunks = greatest(total_chunks, p_total), generation = generation + 1,
            updated_at = clock_timestamp()
        where job_id = p_job and ended_at is null and closed_at is null
            and (known is null or p_total > coalesce(total_chunks, 0));
    return case when known is not null then 'known'
        when j.cancelled_at is null then 'registered' else 'cancelled' end::registration;
end $$;

-- Jobs that are over but for their documents, and what they end as. In a CASE, since its order is
-- kept: a job with an open chunk, as most have, costs one look into an index. Not with EXISTS, for
-- which the planner may gather the open chunks of all jobs.
create or replace view job_over as
select j.job_id, j.generation,
    case when j.cancelled_at is not null then 'cancelled'
         when (select true from chunk c where c.job_id = j.job_id and c.state = 'completed' limit 1)
             then 'completed'
         else 'failed' end as ends_as
from job j
where j.ended_at is null
    and case
        when (select true from chunk c where c.job_id = j.job_id
            and c.state in ('pending', 'processing') limit 1) then false
        when j.closed_at is not null or j.cancelled_at is not null then true
        else (select count(*) from chunk c where c.job_id = j.job_id
            and c.chunk_index < j.total_chunks) >= j.total_chunks end;

-- Of an open job all indexes below the total count, sent or not, and those above it that were sent;
-- of one that takes no more only what is there.
create or replace view job_progress as
select j.job_id,
    case when j.ended_as is not null then j.ended_as
         when j.cancelled_at is not null then 'cancelled'
         when n.started then 'running'
         else 'pending' end as status,
    greatest(j.total_chunks, e.chunks)::integer as total_chunks,
    n.pending_chunks, n.active_chunks, n.completed_chunks, n.failed_chunks,
    n.images_total, n.images_downloaded, n.images_valid, n.duplicates_removed, n.late_duplicates,
    case when e.chunks = 0 and j.is_complete then 100.0::double precision
         else 100.0::double precision * (n.completed_chunks + n.failed_chunks)
             / greatest(e.chunks, 1) end as progress,
    j.created_at,
    greatest(j.updated_at, n.updated_at) as updated_at,
    (e.chunks - n.chunks)::integer as missing_chunks
from (select *, closed_at is not null or cancelled_at is not null or ended_at is not null
    as is_complete from job) j
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
        max(updated_at) as updated_at
    from chunk c where c.job_id = j.job_id) n
cross join lateral (
    select case when j.is_complete then n.chunks
        else coalesce(j.total_chunks, 0) + n.above_total end as chunks) e;

-- No key and no constraint: an insert takes no lock that anybody could wait for.
create table job_touched (
    job_id bigint not null,
    at timestamptz not null default clock_timestamp()
);
comment on table job_touched is 'Jobs that may be over since something happened to them: looked at, and taken out, by the duty that ends jobs.';
comment on column job_touched.at is 'When it happened; later: not to be looked at before.';

-- The schema is named: people change rows with other search paths.
create function touch_job() returns trigger language plpgsql as $$
begin
    insert into chunk_handler.job_touched (job_id) values (old.job_id);
    return null;
end $$;

-- A cancel touches its job once, and not with each of its chunks.
create trigger chunk_ended after update of state on chunk for each row
    when (new.state in ('completed', 'failed') and old.state is distinct from new.state
        and new.error_code is distinct from 'cancelled')
    execute function touch_job();
create trigger chunk_removed after delete on chunk for each row
    when (old.state in ('pending', 'processing'))
    execute function touch_job();
create trigger job_changed after update of total_chunks, closed_at, cancelled_at on job for each row
    when ((old.total_chunks, old.closed_at, old.cancelled_at)
        is distinct from (new.total_chunks, new.closed_at, new.cancelled_at))
    execute function touch_job();

-- What ended before this migration touched nothing.
insert into job_touched (job_id) select job_id from job where ended_at is null;
