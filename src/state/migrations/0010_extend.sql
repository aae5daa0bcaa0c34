-- A submitted job grows: chunks after its last one, from another list.

create table extension (
    job_id bigint not null references job on delete cascade,
    source_sha256 text not null,
    first_chunk integer not null check (first_chunk >= 0),
    chunks integer not null check (chunks > 0),
    images bigint not null,
    images_asked_again bigint not null,
    options jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (job_id, source_sha256)
);
comment on table extension is 'Lists by which jobs grew: the same list again changes nothing.';
comment on column extension.source_sha256 is 'Of the submitted list, in hex.';
comment on column extension.first_chunk is 'The index of its first chunk; the others follow.';
comment on column extension.images is 'URLs of its chunks.';
comment on column extension.images_asked_again is 'Those of them that an earlier chunk has, too.';
comment on column extension.options is 'How it was submitted.';

create type extend_outcome as enum
    ('extended', 'known', 'unknown', 'cancelled', 'closed', 'no_total', 'too_many', 'changed');

-- Adds chunks after the last one of a job, and opens it again if it has ended; first_chunk: where they
-- begin. The messages count their chunks and positions from 0. With p_first they must begin there:
-- else the job changed, and nothing does here. Every other answer but extended changes nothing, either.
create function extend(p_job bigint, p_sha256 text, p_options jsonb, p_images bigint, p_again bigint,
    p_messages text[], p_first integer, out answer extend_outcome, out first_chunk integer)
language plpgsql as $$
declare
    j job;
    n integer := cardinality(p_messages);
    images_before bigint;
begin
    -- From here on nobody else adds a chunk to the job, ends it or closes it.
    select * into j from job where job_id = p_job for no key update;
    if not found then
        answer := 'unknown';
        return;
    end if;
    select e.first_chunk into first_chunk from extension e
        where e.job_id = p_job and e.source_sha256 = p_sha256;
    if found then
        answer := 'known';
        return;
    end if;
    select greatest(j.total_chunks, max(c.chunk_index) + 1) into first_chunk
        from chunk c where c.job_id = p_job;
    answer := case
        when j.cancelled_at is not null or j.ended_as = 'cancelled' then 'cancelled'
        when j.closed_at is not null then 'closed'
        when j.total_chunks is null then 'no_total'
        when first_chunk + n > 100000 then 'too_many'
        when first_chunk <> p_first then 'changed'
        else 'extended' end::extend_outcome;
    if answer <> 'extended' then
        return;
    end if;
    -- Null: an earlier release registered the job, or messages did, and positions are not known.
    images_before := (j.submitted ->> 'images')::bigint
        + coalesce((select sum(e.images) from extension e where e.job_id = p_job), 0);
    insert into chunk (job_id, chunk_index, priority, message)
        select p_job, first_chunk + i.at, (m.message ->> 'priority')::smallint,
            (m.message || jsonb_build_object('chunk_index', first_chunk + i.at,
                'total_chunks', first_chunk + n,
                'image_range', case when images_before is not null then jsonb_build_object(
                    'start', images_before + (m.message #>> '{image_range,start}')::bigint,
                    'end', images_before + (m.message #>> '{image_range,end}')::bigint) end))::text
        from unnest(p_messages) as t (text)
        cross join lateral (select t.text::jsonb as message) m
        cross join lateral (select (m.message ->> 'chunk_index')::integer as at) i;
    insert into extension (job_id, source_sha256, first_chunk, chunks, images, images_asked_again, options)
        values (p_job, p_sha256, first_chunk, n, p_images, p_again, p_options);
    if p_again > 0 then
        -- An earlier release would write retry_of into the meta of samples.
        update fleet set min_handler = greatest(min_handler, 10);
    end if;
    update job set total_chunks = first_chunk + n, ended_at = null, ended_as = null, end_error = null,
            generation = generation + 1, updated_at = clock_timestamp()
        where job_id = p_job;
end $$;

-- With the URLs that were asked for again, which images_total counts once more.
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
    n.images_asked_again
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
        coalesce(sum((totals ->> 'images_asked_again')::bigint), 0)::bigint as images_asked_again,
        max(updated_at) as updated_at
    from chunk c where c.job_id = j.job_id) n
cross join lateral (
    select case when j.is_complete then n.chunks
        else coalesce(j.total_chunks, 0) + n.above_total end as chunks) e;
