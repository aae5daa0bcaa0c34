-- What the outside may rely on: names and columns are fixed.

-- Jobs that are over but for their dataset.json, and what they end as.
create view job_over as
select j.job_id, j.generation,
    case when j.cancelled_at is not null then 'cancelled'
         when n.failed = n.chunks then 'failed'
         else 'completed' end as ends_as
from job j
cross join lateral (
    select count(*) as chunks, count(*) filter (where c.state = 'failed') as failed
    from chunk c where c.job_id = j.job_id) n
where j.ended_at is null
    and not exists (select from chunk c where c.job_id = j.job_id
        and c.state in ('pending', 'processing'))
    and (j.closed_at is not null or j.cancelled_at is not null or n.chunks >= j.total_chunks);

create view capacity as
select n.active_chunks,
    f.max_chunks,
    greatest(f.max_chunks - n.active_chunks, 0) as available,
    n.active_chunks::double precision / f.max_chunks as utilization,
    f.environment,
    f.chunk_size,
    f.storage_limit_mb,
    case when f.paused_until > clock_timestamp() then f.paused_until end as paused_until
from fleet f
cross join (select count(job_id)::integer as active_chunks from slot) n;

create view job_progress as
select j.job_id,
    case when j.ended_as is not null then j.ended_as
         when j.cancelled_at is not null then 'cancelled'
         when n.started then 'running'
         else 'pending' end as status,
    greatest(j.total_chunks, n.chunks)::integer as total_chunks,
    n.pending_chunks, n.active_chunks, n.completed_chunks, n.failed_chunks,
    n.images_total, n.images_downloaded, n.images_valid, n.duplicates_removed, n.late_duplicates,
    100.0::double precision * (n.completed_chunks + n.failed_chunks)
        / greatest(j.total_chunks, n.chunks, 1) as progress,
    j.created_at,
    greatest(j.updated_at, n.updated_at) as updated_at
from job j
cross join lateral (
    select count(*)::integer as chunks,
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
    from chunk c where c.job_id = j.job_id) n;

create view chunk_status as
select job_id, chunk_index, state::text as status, attempt, expiries, fence, shard_fence, owner,
    lease_until, not_before, priority,
    (totals ->> 'images_valid')::bigint as images_valid,
    (totals ->> 'duplicates_removed')::bigint as duplicates_removed,
    jsonb_array_length(late_duplicates) as late_duplicates,
    shard_blob, manifest_blob, error_code, error_message, updated_at
from chunk;

create view attempt_log as
select job_id, chunk_index, fence, owner, invocation_id, claimed_at, finished_at,
    outcome::text as outcome, error_code, temp_peak_bytes
from attempt;

create view rejected_message as
select received_at, queue, body, reason from rejected;

create view health as
select checked_at, active_chunks, pending_chunks, queue_depth, azure_state, azure_cpu,
    azure_memory, report
from health_check;
