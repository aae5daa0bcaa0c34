-- A page of jobs is read where it stands, however many jobs there are: the newest by an index, those of one
-- status by what they ended as, which no chunk has to be looked at for.
create index job_created on job (created_at desc, job_id desc);

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
    j.ended_at,
    j.ended_as
from (select *, closed_at is not null or cancelled_at is not null or ended_at is not null
    as is_complete from job) j
cross join lateral (
    select k.* from jsonb_populate_record(null::job_count, j.sums) k where j.sums is not null
    union all
    select c.* from job_count c where c.job_id = j.job_id and j.sums is null) n
cross join lateral (
    select case when j.is_complete then n.chunks
        else coalesce(j.total_chunks, 0) + n.above_total end as chunks) e;
