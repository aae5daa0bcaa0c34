-- Claims know each other by a token; processes check in and say what is wrong with them; slots are
-- given back by what holds them; chunks of higher priority go first.

-- A fence is a number of the database: restored to an earlier point it gives the same number again.
-- The token is made by the claimant, and no two claims ever share one.
alter table chunk add token text, add shard_claim text;
alter table attempt add token text;
comment on column chunk.token is 'Which claim works on it, in hex; null: nobody. Unique whatever the database forgets.';
comment on column chunk.shard_claim is 'The token of the claim that wrote shard and manifest; null: not completed.';
comment on column attempt.token is 'The claim, in hex; null: of a release without tokens.';

alter table fleet
    add storage text,
    add min_handler integer not null default 4,
    add announcer_since timestamptz;
comment on column fleet.storage is 'Storage account, dataset container and source container; null: no process has announced itself. A process with others claims nothing.';
comment on column fleet.min_handler is 'The oldest release that can live with this schema, as the newest migration that it knows.';
comment on column fleet.announcer_since is 'When the process started that announced the limit; null: nobody did, the row is new.';

create table live_process (
    owner text primary key,
    since timestamptz not null,
    seen_at timestamptz not null default clock_timestamp(),
    release text not null,
    degraded text
);
comment on table live_process is 'One row for each process, which it renews every few seconds. Rows of processes that are gone are removed after an hour.';
comment on column live_process.degraded is 'What keeps it from starting chunks, with what to do; null: nothing.';

create view process as
select owner, since, seen_at, release, degraded
from live_process where seen_at > clock_timestamp() - interval '30 seconds';

-- A process says that it is there and what is wrong with it, and learns what it needs to know.
create function check_in(p_owner text, p_release text, p_uptime_seconds double precision,
    p_degraded text, out min_handler integer, out storage text, out is_announced boolean,
    out sweep_asked_at timestamptz) language plpgsql as $$
begin
    insert into live_process (owner, since, release, degraded)
        values (p_owner, clock_timestamp() - make_interval(secs => p_uptime_seconds), p_release,
            p_degraded)
        on conflict (owner) do update
            set seen_at = clock_timestamp(), degraded = excluded.degraded;
    delete from live_process where owner in (
        select p.owner from live_process p where p.seen_at < clock_timestamp() - interval '1 hour'
        for update skip locked);
    -- Ten seconds: the age of a process is measured by two clocks.
    -- Rows that somebody removed by hand are made again.
    if not exists (select from fleet) then
        insert into fleet default values on conflict do nothing;
    end if;
    if not exists (select from waker) then
        insert into waker default values on conflict do nothing;
    end if;
    if not exists (select from failure_export) then
        insert into failure_export default values on conflict do nothing;
    end if;
    select f.min_handler, f.storage,
        (select count(*) from slot where slot_no <= f.max_chunks) = f.max_chunks
        and coalesce(f.announcer_since > clock_timestamp()
            - make_interval(secs => p_uptime_seconds + 10), false), f.sweep_asked_at
        into min_handler, storage, is_announced, sweep_asked_at from fleet f;
end $$;

-- Sets the limit in force and what view capacity shows, unless a process that started later did;
-- missing slots are created. It waits for the claims under way: one that read the old limit must not
-- grant above the new one (claim's lock).
drop function announce(integer, text, integer, integer);
create function announce(p_max_chunks integer, p_environment text, p_chunk_size integer,
    p_storage_limit_mb integer, p_storage text, p_uptime_seconds double precision)
returns void language plpgsql as $$
declare
    began timestamptz := clock_timestamp() - make_interval(secs => p_uptime_seconds);
begin
    perform pg_advisory_xact_lock(7110421, 1);
    update fleet set max_chunks = p_max_chunks, environment = p_environment,
        chunk_size = p_chunk_size, storage_limit_mb = p_storage_limit_mb,
        storage = coalesce(storage, p_storage), announcer_since = began
        where (announcer_since is null or announcer_since <= began)
            and (storage is null or storage = p_storage);
    insert into slot (slot_no) select generate_series(1, max_chunks) from fleet
        on conflict do nothing;
end $$;

-- Ends the claim of a locked chunk that is processing: slot and attempt.
create or replace function end_claim(p chunk, p_outcome attempt_outcome, p_error_code text,
    p_temp_peak bigint) returns void language plpgsql as $$
begin
    update slot set job_id = null, chunk_index = null
        where slot_no = p.slot_no and job_id = p.job_id and chunk_index = p.chunk_index;
    -- After a restore the row of this attempt may be another claim's.
    update attempt set finished_at = clock_timestamp(), outcome = p_outcome,
            error_code = p_error_code, temp_peak_bytes = p_temp_peak
        where job_id = p.job_id and chunk_index = p.chunk_index and fence = p.fence
            and token is not distinct from p.token;
end $$;

-- Reclaims a locked chunk whose worker is gone. Not charged.
create or replace function expire(p chunk) returns chunk language plpgsql as $$
declare
    n integer := p.expiries + 1;
    lost boolean := p.expiries + 1 >= most_expiries();
    result chunk;
begin
    perform end_claim(p, 'expired', 'lease_expired', null);
    update chunk set
            state = case when lost then 'failed' else 'pending' end::chunk_state,
            expiries = n, releases = 0, attempt = p.attempt - 1,
            slot_no = null, owner = null, invocation_id = null, token = null, lease_until = null,
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

-- Whether as many chunks of a higher priority could start as slots are free: then this one lets them
-- go first, unless it has waited for ten minutes. The look ends after a thousand rows: far more of
-- them wait for their time than there are slots.
create function is_outranked(p chunk, p_limit integer) returns boolean language plpgsql as $$
declare
    first integer;
begin
    -- Nearly always there is none.
    perform from chunk c where c.state = 'pending' and c.priority > p.priority
        order by c.priority desc limit 1;
    if not found or p.created_at < clock_timestamp() - interval '10 minutes' then
        return false;
    end if;
    select count(*) into first from (
        select from (
            select c.job_id, c.not_before, c.expiries from chunk c
            where c.state = 'pending' and c.priority > p.priority
            order by c.priority desc limit 1000) c
        join job j on j.job_id = c.job_id
        where (c.not_before is null or c.not_before <= clock_timestamp())
            and c.expiries < 3 and j.cancelled_at is null and j.ended_at is null
        limit p_limit) f;
    return first >= greatest(1,
        (select count(*) from slot where job_id is null and slot_no <= p_limit));
end $$;

-- May this chunk start now? A chunk that nobody knows is registered first. Answers claimed,
-- completed, failed, worker_lost (failed just now), cancelled, running, later, full, outranked,
-- paused, what register refuses, or locked (somebody is changing the row: ask again).
drop function claim(bigint, integer, integer, text, text, double precision, smallint, text);
alter type claim_outcome add value 'outranked';
create function claim(p_job bigint, p_index integer, p_total integer, p_owner text,
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
        -- A message may know of more chunks than the job did. Job before chunk.
        update job set total_chunks = p_total, generation = generation + 1
            where job_id = p_job and ended_at is null and closed_at is null
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

-- Locks the chunk and returns it if this claim still holds it; else null.
drop function held(bigint, integer, bigint);
create function held(p_job bigint, p_index integer, p_token text)
returns chunk language plpgsql as $$
declare
    c chunk;
begin
    select * into c from chunk where job_id = p_job and chunk_index = p_index
        and token = p_token and state = 'processing' for no key update;
    return c;
end $$;

-- True when the attempt of this claim already ended this way: the reply was lost.
drop function already(bigint, integer, bigint, attempt_outcome);
create function already(p_job bigint, p_index integer, p_token text, p_outcome attempt_outcome)
returns boolean language sql stable as $$
    select exists (select from attempt where job_id = p_job and chunk_index = p_index
        and token = p_token and outcome = p_outcome)
$$;

-- Made again with tokens in 0006_again.sql.
drop function complete(bigint, integer, bigint, bigint, jsonb, jsonb, text, bytea[], text[]);

-- Gives a chunk up: 'released' (not charged), 'retried' (charged; failed at p_max_attempts) or
-- 'failed'. Seconds of not_before: p_first doubled up to p_cap, or none when p_first is 0.
-- Returns the outcome, or null when the lease is lost.
drop function give_up(bigint, integer, bigint, attempt_outcome, text, text, integer,
    double precision, bigint);
create function give_up(p_job bigint, p_index integer, p_token text, p_outcome attempt_outcome,
    p_code text, p_message text, p_max_attempts integer, p_first double precision,
    p_cap double precision, p_temp_peak bigint) returns attempt_outcome language plpgsql as $$
declare
    c chunk := held(p_job, p_index, p_token);
    outcome attempt_outcome := p_outcome;
    released integer := 0;
    wait double precision := 0;
begin
    if c.job_id is null then
        select a.outcome into outcome from attempt a where a.job_id = p_job
            and a.chunk_index = p_index and a.token = p_token
            and (a.outcome = p_outcome or (p_outcome = 'retried' and a.outcome = 'failed'));
        return outcome;
    end if;
    if outcome = 'retried' and c.attempt >= p_max_attempts then
        outcome := 'failed';
    end if;
    if p_first > 0 and outcome = 'released' then
        released := c.releases + 1;
        wait := backoff(p_first, released, p_cap);
    elsif p_first > 0 and outcome = 'retried' then
        wait := backoff(p_first, c.attempt, p_cap);
    end if;
    perform end_claim(c, outcome, p_code, p_temp_peak);
    update chunk set
            state = case when outcome = 'failed' then 'failed' else 'pending' end::chunk_state,
            attempt = case when outcome = 'released' then c.attempt - 1 else c.attempt end,
            expiries = 0, releases = released, error_code = p_code, error_message = p_message,
            slot_no = null, owner = null, invocation_id = null, token = null, lease_until = null,
            woken_at = null,
            not_before = case when wait > 0 then clock_timestamp() + make_interval(secs => wait) end,
            updated_at = clock_timestamp()
        where job_id = p_job and chunk_index = p_index;
    if outcome = 'failed' then
        update failure_export set failed = failed + 1;
    end if;
    return outcome;
end $$;

-- Frees slots whose chunk does not hold them: its row was removed or restored. The slot is locked
-- first and its chunk read in a statement of its own: the snapshot of the search may be older than a
-- claim of that very slot.
create function free_stray_slots() returns integer language plpgsql as $$
declare
    s slot;
    n integer := 0;
begin
    for s in select * from slot where job_id is not null and not exists (
            select from chunk c where c.job_id = slot.job_id
                and c.chunk_index = slot.chunk_index and c.slot_no = slot.slot_no)
        order by slot_no for update skip locked
    loop
        perform from chunk c where c.job_id = s.job_id and c.chunk_index = s.chunk_index
            and c.slot_no = s.slot_no;
        if not found then
            update slot set job_id = null, chunk_index = null where slot_no = s.slot_no;
            n := n + 1;
        end if;
    end loop;
    return n;
end $$;

-- Reclaims every expired lease that nobody is changing right now, or with p_process every lease of
-- that process, which is known to be dead (its owner's name ends so): how many, and how many of those
-- chunks failed with it.
drop function reclaim();
create function reclaim(p_process text, out reclaimed integer, out failed integer)
language plpgsql as $$
declare
    c chunk;
begin
    reclaimed := 0;
    failed := 0;
    for c in select k.* from slot s join chunk k on k.job_id = s.job_id
            and k.chunk_index = s.chunk_index
        where k.state = 'processing'
            and (k.owner like '%/' || p_process
                or p_process is null and k.lease_until <= clock_timestamp())
        order by k.job_id, k.chunk_index for no key update of k skip locked
    loop
        c := expire(c);
        reclaimed := reclaimed + 1;
        failed := failed + (c.state = 'failed')::integer;
    end loop;
    if p_process is null then
        perform free_stray_slots();
    end if;
end $$;

-- Fails what is not over.
create or replace function cancel(p_job bigint) returns cancellation language plpgsql as $$
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
                slot_no = null, owner = null, invocation_id = null, token = null,
                lease_until = null, not_before = null, woken_at = null,
                updated_at = clock_timestamp()
            where job_id = p_job and chunk_index = c.chunk_index;
    end loop;
    return 'cancelled';
end $$;
