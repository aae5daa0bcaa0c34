-- The decisions that must be one round trip and one transaction. Lock order everywhere: job before
-- chunk, chunk before slot, several chunks by primary key. failure_export comes last: a transaction
-- that holds it takes only locks that are free (reclaim skips locked rows), so it waits for nobody.

-- Seconds: first, doubled for each further one, at most cap.
create function backoff(first double precision, n integer, cap double precision)
returns double precision language sql immutable as $$
    select least(cap, first * power(2, least(greatest(n, 1) - 1, 30)))
$$;

-- Ends the claim of a locked chunk that is processing: slot, attempt and lease columns.
create function end_claim(p chunk, p_outcome attempt_outcome, p_error_code text, p_temp_peak bigint)
returns void language plpgsql as $$
begin
    update slot set job_id = null, chunk_index = null
        where slot_no = p.slot_no and job_id = p.job_id and chunk_index = p.chunk_index;
    update attempt set finished_at = clock_timestamp(), outcome = p_outcome,
            error_code = p_error_code, temp_peak_bytes = p_temp_peak
        where job_id = p.job_id and chunk_index = p.chunk_index and fence = p.fence;
end $$;

-- How many leases of a chunk may run out in a row: at the last one it is taken to kill its workers,
-- and fails.
create function most_expiries() returns integer language sql immutable as $$ select 20 $$;

-- Reclaims a locked chunk whose lease has run out. Not charged.
create function expire(p chunk) returns chunk language plpgsql as $$
declare
    n integer := p.expiries + 1;
    lost boolean := p.expiries + 1 >= most_expiries();
    result chunk;
begin
    perform end_claim(p, 'expired', 'lease_expired', null);
    update chunk set
            state = case when lost then 'failed' else 'pending' end::chunk_state,
            expiries = n, releases = 0, attempt = p.attempt - 1,
            slot_no = null, owner = null, invocation_id = null, lease_until = null,
            woken_at = null,
            not_before = case when n > 2 then clock_timestamp()
                + make_interval(secs => random() * 2 * backoff(1, n - 2, 60)) end,
            error_code = case when lost then 'worker_lost' else 'lease_expired' end,
            error_message = format('the lease of %s ran out (%s in a row)', p.owner, n),
            updated_at = clock_timestamp()
        where job_id = p.job_id and chunk_index = p.chunk_index
        returning * into result;
    if lost then
        update failure_export set failed = failed + 1;
    end if;
    return result;
end $$;

-- Sets the limit in force and what view capacity shows; missing slots are created. It waits for the
-- claims under way: one that read the old limit must not grant above the new one (claim's lock).
create function announce(p_max_chunks integer, p_environment text, p_chunk_size integer,
    p_storage_limit_mb integer) returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock(7110421, 1);
    update fleet set max_chunks = p_max_chunks, environment = p_environment,
        chunk_size = p_chunk_size, storage_limit_mb = p_storage_limit_mb;
    insert into slot (slot_no) select generate_series(1, p_max_chunks) on conflict do nothing;
end $$;

-- The answers of claim. Of register: job_ended and no_source.
create type claim_outcome as enum ('claimed', 'completed', 'failed', 'worker_lost', 'cancelled',
    'running', 'later', 'full', 'paused', 'job_ended', 'no_source', 'locked');

create type claim_answer as (
    answer claim_outcome,
    fence bigint,
    attempt integer,
    message text,
    active_chunks integer,
    max_chunks integer
);

-- A free slot within the limit, locked; null when the fleet is full. While a slot above a
-- lowered limit is occupied, the fleet counts as full.
create function free_slot(p_limit integer) returns integer language plpgsql as $$
declare
    result integer;
begin
    if exists (select from slot where slot_no > p_limit and job_id is not null) then
        return null;
    end if;
    select slot_no into result from slot
        where job_id is null and slot_no <= p_limit
        order by slot_no limit 1 for update skip locked;
    return result;
end $$;

-- One suspect at a time, a chunk that lost its worker three times in a row: its neighbours would
-- expire with it. The lock and the count are two statements: the snapshot of one would be older than
-- the lock. The lock lasts until the claim is committed.
create function may_be_suspect() returns boolean language plpgsql as $$
begin
    if not pg_try_advisory_xact_lock(7110421, 3) then
        return false;
    end if;
    perform from slot join chunk o on o.job_id = slot.job_id
        and o.chunk_index = slot.chunk_index where o.expiries >= 3;
    return not found;
end $$;

create type registration as enum ('registered', 'known', 'cancelled', 'job_ended', 'no_source');

-- Makes a chunk durable: registered (new), known, cancelled (stored as failed) or job_ended.
-- Without p_message (it has no source) only a known chunk counts: else no_source.
create function register(p_job bigint, p_index integer, p_total integer, p_priority smallint,
    p_message text) returns registration language plpgsql as $$
declare
    j job;
begin
    if p_message is null then
        return case when exists (select from chunk where job_id = p_job
            and chunk_index = p_index) then 'known' else 'no_source' end::registration;
    end if;
    insert into job (job_id, total_chunks) values (p_job, p_total)
        on conflict (job_id) do update
            -- A job that ended keeps what it ended with; its row is locked all the same.
            set total_chunks = case when job.ended_at is null
                    then greatest(job.total_chunks, excluded.total_chunks)
                    else job.total_chunks end,
                generation = job.generation + (job.ended_at is null)::integer
        returning * into j;
    if exists (select from chunk where job_id = p_job and chunk_index = p_index) then
        return 'known';
    elsif j.ended_at is not null then
        return 'job_ended';
    end if;
    insert into chunk (job_id, chunk_index, priority, message, woken_at, state, error_code,
            error_message)
        values (p_job, p_index, p_priority, p_message, clock_timestamp(),
            case when j.cancelled_at is null then 'pending' else 'failed' end::chunk_state,
            case when j.cancelled_at is not null then 'cancelled' end,
            case when j.cancelled_at is not null then 'the job was cancelled' end);
    update job set updated_at = clock_timestamp() where job_id = p_job;
    return case when j.cancelled_at is null then 'registered' else 'cancelled' end::registration;
end $$;

-- May this chunk start now? A chunk that nobody knows is registered first. Answers claimed,
-- completed, failed, worker_lost (failed just now), cancelled, running, later, full, paused, what
-- register refuses, or locked (somebody is changing the row: ask again).
create function claim(p_job bigint, p_index integer, p_total integer, p_owner text,
    p_invocation text, p_lease_seconds double precision, p_priority smallint,
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
    if p_total is not null then
        -- A message may know of more chunks than the job did. Job before chunk.
        update job set total_chunks = p_total, generation = generation + 1
            where job_id = p_job and ended_at is null
                and (total_chunks is null or total_chunks < p_total);
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
        if r in ('job_ended', 'no_source') then
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
    if c.state = 'processing' and c.lease_until <= clock_timestamp() then
        c := expire(c);
        lost := c.state = 'failed';
    end if;
    a.attempt := c.attempt;
    a.fence := c.fence;
    if c.state = 'processing' then
        -- The same invocation of the same process asks again: the reply to its claim was lost.
        a.answer := case when c.invocation_id = p_invocation and c.owner = p_owner
            then 'claimed' else 'running' end::claim_outcome;
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
    else
        s := free_slot(f.max_chunks);
        a.answer := case when s is null then 'full' else 'claimed' end::claim_outcome;
    end if;
    if s is not null then
        update slot set job_id = p_job, chunk_index = p_index where slot_no = s;
        update chunk set state = 'processing', attempt = c.attempt + 1, fence = c.fence + 1,
                slot_no = s, owner = p_owner, invocation_id = p_invocation,
                lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds),
                updated_at = clock_timestamp()
            where job_id = p_job and chunk_index = p_index;
        insert into attempt (job_id, chunk_index, fence, owner, invocation_id)
            values (p_job, p_index, c.fence + 1, p_owner, p_invocation);
        a.attempt := c.attempt + 1;
        a.fence := c.fence + 1;
        a.message := c.message;
    elsif a.answer in ('full', 'paused', 'later') and c.woken_at is not null then
        -- Its message is spent: the waker may send another.
        update chunk set woken_at = null where job_id = p_job and chunk_index = p_index;
    end if;
    select count(job_id) into a.active_chunks from slot;
    return a;
end $$;

-- Locks the chunk and returns it if the fence still holds it; else null.
create function held(p_job bigint, p_index integer, p_fence bigint)
returns chunk language plpgsql as $$
declare
    c chunk;
begin
    select * into c from chunk where job_id = p_job and chunk_index = p_index
        and fence = p_fence and state = 'processing' for no key update;
    return c;
end $$;

-- True when the attempt of this fence already ended this way: the reply was lost.
create function already(p_job bigint, p_index integer, p_fence bigint, p_outcome attempt_outcome)
returns boolean language sql stable as $$
    select exists (select from attempt where job_id = p_job and chunk_index = p_index
        and fence = p_fence and outcome = p_outcome)
$$;

-- Completes a chunk: row, hashes and slot in one transaction. False: the lease is lost.
create function complete(p_job bigint, p_index integer, p_fence bigint, p_shard_fence bigint,
    p_totals jsonb, p_shard jsonb, p_manifest_blob text, p_sha256 bytea[], p_keys text[])
returns boolean language plpgsql as $$
declare
    c chunk := held(p_job, p_index, p_fence);
    late jsonb;
begin
    if c.job_id is null then
        return already(p_job, p_index, p_fence, 'completed');
    end if;
    -- In hash order, or two completions with common images would deadlock.
    insert into image_hash (job_id, sha256, chunk_index, key)
        select p_job, h.sha256, p_index, h.key
        from unnest(p_sha256, p_keys) as h (sha256, key) order by h.sha256
        on conflict do nothing;
    select coalesce(jsonb_agg(jsonb_build_object('key', h.key, 'duplicate_of', i.key)
            order by h.key), '[]') into late
        from unnest(p_sha256, p_keys) as h (sha256, key)
        join image_hash i on i.job_id = p_job and i.sha256 = h.sha256
        where i.chunk_index <> p_index;
    perform end_claim(c, 'completed', null, (p_totals ->> 'temp_peak_bytes')::bigint);
    update chunk set state = 'completed', shard_fence = p_shard_fence, totals = p_totals,
            shard_blob = p_shard ->> 'blob', shard_bytes = (p_shard ->> 'bytes')::bigint,
            shard_sha256 = p_shard ->> 'sha256', shard_samples = (p_shard ->> 'samples')::bigint,
            manifest_blob = p_manifest_blob, late_duplicates = late,
            expiries = 0, releases = 0, error_code = null, error_message = null,
            slot_no = null, owner = null, invocation_id = null, lease_until = null,
            not_before = null, woken_at = null, updated_at = clock_timestamp()
        where job_id = p_job and chunk_index = p_index;
    return true;
end $$;

-- Gives a chunk up: 'released' (not charged), 'retried' (charged; failed at p_max_attempts) or
-- 'failed'. Seconds of not_before: p_first doubled up to 300, or none when p_first is 0.
-- Returns the outcome, or null when the lease is lost.
create function give_up(p_job bigint, p_index integer, p_fence bigint, p_outcome attempt_outcome,
    p_code text, p_message text, p_max_attempts integer, p_first double precision,
    p_temp_peak bigint) returns attempt_outcome language plpgsql as $$
declare
    c chunk := held(p_job, p_index, p_fence);
    outcome attempt_outcome := p_outcome;
    released integer := 0;
    wait double precision := 0;
begin
    if c.job_id is null then
        select a.outcome into outcome from attempt a where a.job_id = p_job
            and a.chunk_index = p_index and a.fence = p_fence
            and (a.outcome = p_outcome or (p_outcome = 'retried' and a.outcome = 'failed'));
        return outcome;
    end if;
    if outcome = 'retried' and c.attempt >= p_max_attempts then
        outcome := 'failed';
    end if;
    if p_first > 0 and outcome = 'released' then
        released := c.releases + 1;
        wait := backoff(p_first, released, 300);
    elsif p_first > 0 and outcome = 'retried' then
        wait := backoff(p_first, c.attempt, 300);
    end if;
    perform end_claim(c, outcome, p_code, p_temp_peak);
    update chunk set
            state = case when outcome = 'failed' then 'failed' else 'pending' end::chunk_state,
            attempt = case when outcome = 'released' then c.attempt - 1 else c.attempt end,
            expiries = 0, releases = released, error_code = p_code, error_message = p_message,
            slot_no = null, owner = null, invocation_id = null, lease_until = null,
            woken_at = null,
            not_before = case when wait > 0 then clock_timestamp() + make_interval(secs => wait) end,
            updated_at = clock_timestamp()
        where job_id = p_job and chunk_index = p_index;
    if outcome = 'failed' then
        update failure_export set failed = failed + 1;
    end if;
    return outcome;
end $$;

-- Reclaims every expired lease that nobody is changing right now: how many, and how many of those
-- chunks failed with it.
create function reclaim(out reclaimed integer, out failed integer) language plpgsql as $$
declare
    c chunk;
begin
    reclaimed := 0;
    failed := 0;
    for c in select k.* from slot s join chunk k on k.job_id = s.job_id
            and k.chunk_index = s.chunk_index
        where k.state = 'processing' and k.lease_until <= clock_timestamp()
        order by k.job_id, k.chunk_index for no key update of k skip locked
    loop
        c := expire(c);
        reclaimed := reclaimed + 1;
        failed := failed + (c.state = 'failed')::integer;
    end loop;
end $$;

create type cancellation as enum ('cancelled', 'job_ended', 'unknown');

-- Fails what is not over.
create function cancel(p_job bigint) returns cancellation language plpgsql as $$
declare
    j job;
    c chunk;
begin
    select * into j from job where job_id = p_job for no key update;
    if not found then
        return 'unknown';
    elsif j.ended_at is not null then
        return 'job_ended';
    end if;
    update job set cancelled_at = coalesce(cancelled_at, clock_timestamp()),
        generation = generation + 1, updated_at = clock_timestamp() where job_id = p_job;
    for c in select * from chunk where job_id = p_job and state in ('pending', 'processing')
        order by chunk_index for no key update
    loop
        if c.state = 'processing' then
            perform end_claim(c, 'cancelled', 'cancelled', null);
        end if;
        update chunk set state = 'failed', error_code = 'cancelled',
                error_message = 'the job was cancelled',
                slot_no = null, owner = null, invocation_id = null, lease_until = null,
                not_before = null, woken_at = null, updated_at = clock_timestamp()
            where job_id = p_job and chunk_index = c.chunk_index;
    end loop;
    return 'cancelled';
end $$;

-- Sets failed chunks back to pending and reopens the job. Returns how many; null: unknown job.
create function retry(p_job bigint, p_index integer) returns integer language plpgsql as $$
declare
    n integer;
begin
    perform from job where job_id = p_job for no key update;
    if not found then
        return null;
    end if;
    with failed as (
        select job_id, chunk_index from chunk where job_id = p_job and state = 'failed'
            and (p_index is null or chunk_index = p_index)
        order by chunk_index for no key update
    )
    update chunk set state = 'pending', attempt = 0, expiries = 0, releases = 0,
            reset_fence = fence, not_before = null, woken_at = null, error_code = null,
            error_message = null, updated_at = clock_timestamp()
        from failed f where chunk.job_id = f.job_id and chunk.chunk_index = f.chunk_index;
    get diagnostics n = row_count;
    if n > 0 then
        update job set ended_at = null, ended_as = null, cancelled_at = null,
            generation = generation + 1, updated_at = clock_timestamp() where job_id = p_job;
    end if;
    return n;
end $$;
