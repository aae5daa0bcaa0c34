-- A completed chunk can run again under the same names, because its shard is gone or somebody asks.
-- Until the new attempt completes its hashes count for others; then they are exchanged.

alter table chunk
    add column again_fence bigint not null default 0,
    add column losses integer not null default 0,
    add column lost_duplicates integer not null default 0;
comment on column chunk.again_fence is 'The fence when it was last asked to run again; 0: never. What claims up to it left is not adopted.';
comment on column chunk.losses is 'How often its blobs were gone since somebody last asked it to run again: the exponent of its back-off.';
comment on column chunk.lost_duplicates is 'Pictures that it dropped as duplicates of samples that are gone since, as the end of its job found.';

create table earlier_sample (
    job_id bigint not null,
    chunk_index integer not null,
    key text not null,
    sha256 bytea not null,
    is_gone boolean not null default false,
    primary key (job_id, chunk_index, key, sha256),
    foreign key (job_id, chunk_index) references chunk on delete cascade
);
comment on table earlier_sample is 'Samples of a chunk that runs again, as image_hash has them. Once it completed those stay that its new shard does not have.';
comment on column earlier_sample.is_gone is 'The new shard is complete, without it: chunks may have dropped pictures as its duplicates.';

-- Runs chunks that are over again, and reopens the job: how many; null: unknown job. With p_fences
-- only those that completed and whose shard is still of that claim, since it was found to be gone: at
-- once the first time, then after a back-off; in a cancelled job they fail.
create function run_again(p_job bigint, p_indexes integer[], p_fences bigint[])
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
            shard_fence = null, shard_claim = null, totals = null, shard_blob = null, shard_bytes = null,
            shard_sha256 = null, shard_samples = null, manifest_blob = null,
            late_duplicates = '[]', lost_duplicates = 0, updated_at = clock_timestamp()
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

-- The first lock of a completion. Those of a job go side by side, but for one that exchanges hashes:
-- it changes the late duplicates of other chunks, whose completions must not look meanwhile at hashes
-- that go. Job before chunk, since it locks several.
create function lock_hashes(p_job bigint, p_index integer) returns void language plpgsql as $$
begin
    if exists (select from chunk where job_id = p_job and chunk_index = p_index
            and again_fence > 0) then
        perform from job where job_id = p_job for no key update;
        perform pg_advisory_xact_lock(7110422, (p_job % 2147483647)::integer);
    else
        perform pg_advisory_xact_lock_shared(7110422, (p_job % 2147483647)::integer);
    end if;
end $$;

-- Takes the samples that a chunk has now, and has inserted, for those of its earlier shard. A sample
-- that is gone passes its hash on to the first late duplicate of it, if there is one. The caller
-- holds the locks of lock_hashes.
create function exchange_hashes(p_job bigint, p_index integer, p_sha256 bytea[], p_keys text[])
returns void language plpgsql as $$
begin
    delete from earlier_sample e using unnest(p_sha256, p_keys) as n (sha256, key)
        where e.job_id = p_job and e.chunk_index = p_index
            and e.key = n.key and e.sha256 = n.sha256;
    with gone as (
        update earlier_sample set is_gone = true
        where job_id = p_job and chunk_index = p_index and not is_gone
        returning key, sha256
    ), late as (
        select g.sha256, c.chunk_index, l ->> 'key' as key, g.key as gone_key
        from chunk c cross join lateral jsonb_array_elements(c.late_duplicates) l
        join gone g on g.key = l ->> 'duplicate_of'
        where c.job_id = p_job and c.state = 'completed'
    ), heir as (
        -- Before all others the chunk itself, which may have the picture under another key.
        select distinct on (sha256) sha256, chunk_index, key
        from (select g.sha256, p_index, n.key, 0
                from gone g join unnest(p_sha256, p_keys) as n (sha256, key) using (sha256)
            union all
            select sha256, chunk_index, key, 1 from late) as s (sha256, chunk_index, key, rank)
        order by sha256, rank, chunk_index, key
    ), inherited as (
        update image_hash i set chunk_index = h.chunk_index, key = h.key from heir h
        where i.job_id = p_job and i.sha256 = h.sha256 and i.chunk_index = p_index
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

-- Before the documents of a job: chunks that were to run again and failed instead have no samples.
-- Answers the samples that are gone.
create function settle_samples(p_job bigint)
returns table (key text, sha256 bytea) language plpgsql as $$
declare
    i integer;
begin
    if exists (select from earlier_sample e where e.job_id = p_job and not e.is_gone) then
        perform from job where job_id = p_job for no key update;
        perform pg_advisory_xact_lock(7110422, (p_job % 2147483647)::integer);
        for i in select distinct e.chunk_index from earlier_sample e
            join chunk c on c.job_id = e.job_id and c.chunk_index = e.chunk_index
            where e.job_id = p_job and not e.is_gone and c.state = 'failed' order by 1
        loop
            perform exchange_hashes(p_job, i, '{}', '{}');
        end loop;
    end if;
    return query select e.key, e.sha256 from earlier_sample e where e.job_id = p_job and e.is_gone;
    if not found then
        -- Those that were gone came back.
        update chunk c set lost_duplicates = 0 where c.job_id = p_job and c.lost_duplicates > 0;
    end if;
end $$;

-- Notes which chunks dropped how many pictures as duplicates of samples that are gone; answers those
-- for which this is new. When there are none nobody needs to know the samples any more. Only of the
-- generation that was looked at.
create function note_lost_duplicates(p_job bigint, p_generation integer, p_indexes integer[],
    p_counts integer[]) returns table (index integer, n integer) language plpgsql as $$
begin
    perform from job where job_id = p_job and generation = p_generation for no key update;
    if not found then
        return;
    elsif cardinality(p_indexes) = 0 then
        delete from earlier_sample where job_id = p_job and is_gone;
    end if;
    return query update chunk c set lost_duplicates = coalesce(s.n, 0)
        from chunk o left join unnest(p_indexes, p_counts) as s (index, n)
            on s.index = o.chunk_index
        where o.job_id = p_job and c.job_id = o.job_id and c.chunk_index = o.chunk_index
            and o.state = 'completed' and c.lost_duplicates <> coalesce(s.n, 0)
        returning c.chunk_index, c.lost_duplicates;
end $$;

-- Completes a chunk: row, hashes and slot in one transaction. False: the lease is lost.
create function complete(p_job bigint, p_index integer, p_token text, p_shard_fence bigint,
    p_shard_claim text, p_totals jsonb, p_shard jsonb, p_manifest_blob text, p_sha256 bytea[], p_keys text[])
returns boolean language plpgsql as $$
declare
    c chunk;
    late jsonb;
begin
    perform lock_hashes(p_job, p_index);
    c := held(p_job, p_index, p_token);
    if c.job_id is null then
        return already(p_job, p_index, p_token, 'completed');
    end if;
    -- In hash order, or two completions with common images would deadlock.
    insert into image_hash (job_id, sha256, chunk_index, key)
        select p_job, h.sha256, p_index, h.key
        from unnest(p_sha256, p_keys) as h (sha256, key) order by h.sha256
        on conflict do nothing;
    if c.again_fence > 0 then
        perform exchange_hashes(p_job, p_index, p_sha256, p_keys);
    end if;
    select coalesce(jsonb_agg(jsonb_build_object('key', h.key, 'duplicate_of', i.key)
            order by h.key), '[]') into late
        from unnest(p_sha256, p_keys) as h (sha256, key)
        join image_hash i on i.job_id = p_job and i.sha256 = h.sha256
        where i.chunk_index <> p_index;
    perform end_claim(c, 'completed', null, (p_totals ->> 'temp_peak_bytes')::bigint);
    update chunk set state = 'completed', shard_fence = p_shard_fence,
            shard_claim = p_shard_claim, totals = p_totals,
            shard_blob = p_shard ->> 'blob', shard_bytes = (p_shard ->> 'bytes')::bigint,
            shard_sha256 = p_shard ->> 'sha256', shard_samples = (p_shard ->> 'samples')::bigint,
            manifest_blob = p_manifest_blob, late_duplicates = late,
            expiries = 0, releases = 0, error_code = null, error_message = null,
            slot_no = null, owner = null, invocation_id = null, token = null, lease_until = null,
            not_before = null, woken_at = null, updated_at = clock_timestamp()
        where job_id = p_job and chunk_index = p_index;
    return true;
end $$;
