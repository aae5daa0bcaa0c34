-- What a chunk completed with counts until it has run again to the end: it stays in the row meanwhile,
-- and is what the row says again when the new attempt fails or is cancelled. Only what storage has lost
-- goes at once.

alter table chunk
    drop constraint completed_has_a_shard,
    add constraint completed_has_a_shard check (
        (state <> 'completed' or shard_fence is not null)
        and (state <> 'failed' or shard_fence is null)
        and (shard_fence is null) = (shard_blob is null)
        and (shard_fence is null) = (totals is null));
comment on column chunk.error_code is 'Why the last attempt did not complete, also of a completed chunk that ran again in vain; null: none failed yet, or the last one completed.';
comment on column chunk.totals is 'The sums of its manifest; null: it never completed, or that is lost. While it runs again, and after it did so in vain, those of the last time that it completed, as in every column of its shard.';
comment on column chunk.shard_fence is 'The claim that wrote shard and manifest; null: none is known to be there. At or below again_fence: it runs again, or did so in vain.';
comment on column failure_export.failed is 'How often a chunk ended as failed, also when it ran again in vain and is completed; cancelled ones left out.';

-- Every way of failing comes by here: give_up, expire, cancel.
create function keep_result() returns trigger language plpgsql as $$
begin
    new.state := 'completed';
    new.error_message := format('it ran again in vain, and what it had completed with counts: %s',
        new.error_message);
    return new;
end $$;
create trigger chunk_failed before update of state on chunk for each row
    when (new.state = 'failed' and new.shard_fence is not null)
    execute function keep_result();

-- Runs chunks that are over again, and reopens the job: how many; null: unknown job. What they
-- completed with stays. With p_fences only those that completed and whose shard is still of that
-- claim, since it was found to be gone: nothing of it stays, and they run at once the first time, then
-- after a back-off; in a cancelled job they fail.
create or replace function run_again(p_job bigint, p_indexes integer[], p_fences bigint[])
returns integer language plpgsql as $$
declare
    j job;
    n integer;
begin
    select * into j from job where job_id = p_job for no key update;
    if not found then
        return null;
    end if;
    with asked as (
        select c.job_id, c.chunk_index, a.fence is not null as is_lost,
            a.fence is not null and j.cancelled_at is not null as fails
        from unnest(p_indexes, p_fences) as a (chunk_index, fence)
        join chunk c on c.job_id = p_job and c.chunk_index = a.chunk_index
        where (c.state = 'completed' and c.shard_fence = coalesce(a.fence, c.shard_fence))
            or (c.state = 'failed' and a.fence is null)
        order by c.chunk_index for no key update of c
    ), samples as (
        insert into earlier_sample (job_id, chunk_index, key, sha256)
        select h.job_id, h.chunk_index, h.key, h.sha256
        from image_hash h join asked a on a.job_id = h.job_id and a.chunk_index = h.chunk_index
        on conflict (job_id, chunk_index, key, sha256) do update set is_gone = false
    )
    update chunk c set
            state = case when a.fails then 'failed' else 'pending' end::chunk_state,
            attempt = 0, expiries = 0, releases = 0, reset_fence = c.fence, again_fence = c.fence,
            losses = case when a.is_lost then c.losses + 1 else 0 end,
            not_before = case when a.is_lost and c.losses > 0
                then clock_timestamp() + make_interval(secs => backoff(5, c.losses, 300)) end,
            woken_at = null, error_code = case when a.fails then 'cancelled' end,
            error_message = case when a.fails
                then 'its shard or manifest is gone, and the job was cancelled' end,
            -- Null when it is lost.
            (shard_fence, shard_claim, totals, shard_blob, shard_bytes, shard_sha256, shard_samples,
                manifest_blob)
                = (select c.shard_fence, c.shard_claim, c.totals, c.shard_blob, c.shard_bytes,
                    c.shard_sha256, c.shard_samples, c.manifest_blob where not a.is_lost),
            late_duplicates = case when a.is_lost then '[]' else c.late_duplicates end,
            lost_duplicates = 0, updated_at = clock_timestamp()
        from asked a where c.job_id = a.job_id and c.chunk_index = a.chunk_index;
    get diagnostics n = row_count;
    if n > 0 then
        update job set ended_at = null, ended_as = null,
            cancelled_at = case when p_fences is not null then cancelled_at end,
            generation = generation + 1, updated_at = clock_timestamp() where job_id = p_job;
        -- Those that failed with a cancel touch nothing, and the job may have ended meanwhile.
        insert into job_touched (job_id) values (p_job);
    end if;
    return n;
end $$;

-- Takes the samples that a chunk has now, and has inserted, for those of its earlier shard. A sample
-- that is gone passes its hash on to the first late duplicate of it, if there is one: of a chunk that
-- runs again only when no other has it, since it may have it no more. The caller holds the locks of
-- lock_hashes.
create or replace function exchange_hashes(p_job bigint, p_index integer, p_sha256 bytea[],
    p_keys text[]) returns void language plpgsql as $$
begin
    delete from earlier_sample e using unnest(p_sha256, p_keys) as n (sha256, key)
        where e.job_id = p_job and e.chunk_index = p_index
            and e.key = n.key and e.sha256 = n.sha256;
    with gone as (
        update earlier_sample set is_gone = true
        where job_id = p_job and chunk_index = p_index and not is_gone
        returning key, sha256
    ), late as (
        select g.sha256, c.chunk_index, c.state, l ->> 'key' as key, g.key as gone_key
        from chunk c cross join lateral jsonb_array_elements(c.late_duplicates) l
        join gone g on g.key = l ->> 'duplicate_of'
        where c.job_id = p_job and c.chunk_index <> p_index
    ), heir as (
        -- Before all others the chunk itself, which may have the picture under another key.
        select distinct on (sha256) sha256, chunk_index, key, state
        from (select g.sha256, p_index, n.key, null::chunk_state, 0
                from gone g join unnest(p_sha256, p_keys) as n (sha256, key) using (sha256)
            union all
            select sha256, chunk_index, key, state, case state when 'completed' then 1 else 2 end
                from late) as s (sha256, chunk_index, key, state, rank)
        order by sha256, rank, chunk_index, key
    ), inherited as (
        update image_hash i set chunk_index = h.chunk_index, key = h.key from heir h
        where i.job_id = p_job and i.sha256 = h.sha256 and i.chunk_index = p_index
    ), earlier as (
        -- The heir may complete without it.
        insert into earlier_sample (job_id, chunk_index, key, sha256)
        select p_job, h.chunk_index, h.key, h.sha256 from heir h
        where h.state in ('pending', 'processing')
        on conflict (job_id, chunk_index, key, sha256) do update set is_gone = false
    ), forgotten as (
        delete from image_hash i using gone g
        where i.job_id = p_job and i.sha256 = g.sha256 and i.chunk_index = p_index
            and not exists (select from heir h where h.sha256 = g.sha256)
    )
    update chunk c set late_duplicates = (
            select coalesce(jsonb_agg(jsonb_build_object('key', l ->> 'key',
                    'duplicate_of', coalesce(h.key, l ->> 'duplicate_of')) order by l ->> 'key'), '[]')
            from jsonb_array_elements(c.late_duplicates) l
            left join late o on o.chunk_index = c.chunk_index and o.key = l ->> 'key'
            left join heir h on h.sha256 = o.sha256
            where h.key is distinct from l ->> 'key')
        where c.job_id = p_job and c.chunk_index in (select chunk_index from late);
end $$;

-- Before the documents of a job: a chunk that ran again in vain has the samples that it had, one that
-- failed has none. Answers the samples that are gone. One of which the job has the picture, in an heir
-- or under another key, is none: should that go too, its own chunk has run again.
create or replace function settle_samples(p_job bigint)
returns table (key text, sha256 bytea) language plpgsql as $$
declare
    i integer;
begin
    if exists (select from earlier_sample e where e.job_id = p_job and not e.is_gone) then
        perform from job where job_id = p_job for no key update;
        perform pg_advisory_xact_lock(7110422, (p_job % 2147483647)::integer);
        delete from earlier_sample e using chunk c
            where e.job_id = p_job and not e.is_gone and c.job_id = e.job_id
                and c.chunk_index = e.chunk_index and c.state = 'completed';
        for i in select distinct e.chunk_index from earlier_sample e
            join chunk c on c.job_id = e.job_id and c.chunk_index = e.chunk_index
            where e.job_id = p_job and not e.is_gone and c.state = 'failed' order by 1
        loop
            perform exchange_hashes(p_job, i, '{}', '{}');
        end loop;
    end if;
    delete from earlier_sample e using image_hash h
        where e.job_id = p_job and e.is_gone and h.job_id = e.job_id and h.sha256 = e.sha256;
    return query select e.key, e.sha256 from earlier_sample e where e.job_id = p_job and e.is_gone;
    if not found then
        -- Those that were gone came back.
        update chunk c set lost_duplicates = 0 where c.job_id = p_job and c.lost_duplicates > 0;
    end if;
end $$;
