-- What people are told: a message that is rejected changes nothing, a job that cannot be ended says why,
-- and one that takes no more has as many chunks as it has.

alter table job add column end_error text;
comment on column job.end_error is
    'why its documents could not be written at the last try; null: nothing is in the way';

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
    case when j.ended_at is null then j.end_error end as end_error
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

-- Claims a chunk for a process, or says why not; registers it first when it is unknown.
create or replace function claim(p_job bigint, p_index integer, p_total integer, p_owner text,
    p_invocation text, p_token text, p_lease_seconds double precision, p_priority smallint,
    p_message text) returns claim_answer language plpgsql as $$
declare
    c chunk;
    f fleet;
    s integer;
    a claim_answer;
    lost boolean := false;
    r registration;
begin
    select max_chunks, 0 into a.max_chunks, a.active_chunks from fleet;
    -- Before anything is changed. A wake-up, which has no source, costs no look.
    if p_message is not null and other_source((select message from chunk
            where job_id = p_job and chunk_index = p_index), p_message) then
        a.answer := 'other_source';
        return a;
    end if;
    if p_total is not null then
        -- A message may know of more chunks than the job did. Job before chunk. One that registers
        -- nothing, since it has no source and its chunk is unknown, changes nothing.
        update job set total_chunks = p_total, generation = generation + 1
            where job_id = p_job and ended_at is null and closed_at is null
                and (total_chunks is null or total_chunks < p_total)
                and (p_message is not null or exists (select from chunk
                    where job_id = p_job and chunk_index = p_index));
    end if;
    select * into c from chunk where job_id = p_job and chunk_index = p_index
        for no key update skip locked;
    if not found then
        perform from chunk where job_id = p_job and chunk_index = p_index;
        if found then
            a.answer := 'locked';
            return a;
        end if;
        r := register(p_job, p_index, p_total, p_priority, p_message);
        if r not in ('registered', 'known', 'cancelled') then
            a.answer := r::text::claim_outcome;
            return a;
        end if;
        -- The row is new, or somebody else was quicker to register it and may hold its lock now.
        select * into c from chunk where job_id = p_job and chunk_index = p_index
            for no key update skip locked;
        if not found then
            a.answer := 'locked';
            return a;
        end if;
    end if;
    -- Shared among claims, so that they do not wait for each other; against announce, which waits for
    -- no job and no chunk. The limit is read in the next statement: the snapshot of this one is older
    -- than the lock.
    perform pg_advisory_xact_lock_shared(7110421, 1);
    select * into f from fleet;
    a.max_chunks := f.max_chunks;
    if c.state = 'processing' and c.lease_until <= clock_timestamp()
            and c.token is distinct from p_token then
        c := expire(c);
        lost := c.state = 'failed';
    end if;
    a.attempt := c.attempt;
    a.fence := c.fence;
    if c.state = 'processing' then
        -- The same claim asks again: the reply was lost.
        a.answer := case when c.token = p_token then 'claimed' else 'running' end::claim_outcome;
        a.message := c.message;
        if a.answer = 'claimed' then
            update chunk set lease_until =
                    clock_timestamp() + make_interval(secs => p_lease_seconds)
                where job_id = p_job and chunk_index = p_index;
        end if;
    elsif c.state = 'completed' then
        a.answer := 'completed';
    elsif c.state = 'failed' then
        a.answer := case when lost then 'worker_lost'
            when c.error_code = 'cancelled' then 'cancelled' else 'failed' end::claim_outcome;
    elsif f.paused_until > clock_timestamp() then
        a.answer := 'paused';
    elsif c.not_before > clock_timestamp() then
        a.answer := 'later';
    elsif c.expiries >= 3 and not may_be_suspect() then
        a.answer := 'later';
    elsif is_outranked(c, f.max_chunks) then
        a.answer := 'outranked';
    else
        s := free_slot(f.max_chunks);
        a.answer := case when s is null then 'full' else 'claimed' end::claim_outcome;
    end if;
    if s is not null then
        update slot set job_id = p_job, chunk_index = p_index where slot_no = s;
        update chunk set state = 'processing', attempt = c.attempt + 1, fence = c.fence + 1,
                slot_no = s, owner = p_owner, invocation_id = p_invocation, token = p_token,
                lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds),
                updated_at = clock_timestamp()
            where job_id = p_job and chunk_index = p_index;
        insert into attempt (job_id, chunk_index, fence, owner, invocation_id, token)
            values (p_job, p_index, c.fence + 1, p_owner, p_invocation, p_token);
        a.attempt := c.attempt + 1;
        a.fence := c.fence + 1;
        a.message := c.message;
    elsif a.answer in ('full', 'outranked', 'paused', 'later') and c.woken_at is not null then
        -- Its message is spent: the waker may send another.
        update chunk set woken_at = null where job_id = p_job and chunk_index = p_index;
    end if;
    select count(job_id) into a.active_chunks from slot;
    return a;
end $$;
