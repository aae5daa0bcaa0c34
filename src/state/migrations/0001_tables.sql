-- Tables are private to the handler; the views of 0003_views.sql are not.
-- Time is clock_timestamp() everywhere: now() stands still inside a transaction.

create type chunk_state as enum ('pending', 'processing', 'completed', 'failed');

-- How a claim ended.
create type attempt_outcome as enum
    ('completed', 'failed', 'released', 'retried', 'expired', 'cancelled');

create table fleet (
    one boolean primary key default true check (one),
    max_chunks integer not null default 1 check (max_chunks between 1 and 10000),
    environment text not null default 'local',
    chunk_size integer not null default 500,
    storage_limit_mb integer not null default 0,
    paused_until timestamptz,
    sweep_asked_at timestamptz
);
comment on table fleet is 'One row: the limit in force and what view capacity shows. Written by each handler at its start (the last start wins), except the last two columns.';
comment on column fleet.max_chunks is 'Slots that claims may take, over all processes.';
comment on column fleet.storage_limit_mb is 'MB of temp space of one instance.';
comment on column fleet.sweep_asked_at is 'When an operator last asked every process to sweep its temp space; null: never.';
comment on column fleet.paused_until is 'No chunk starts before; null: not paused. Written by pause and resume only.';
insert into fleet default values;

-- No index but the primary key, so that updates stay on their page (heap-only tuples).
create table slot (
    slot_no integer primary key check (slot_no >= 1),
    job_id bigint,
    chunk_index integer,
    check ((job_id is null) = (chunk_index is null))
) with (fillfactor = 50);
comment on table slot is 'One row for each unit of the fleet limit; the limit is the number of rows up to fleet.max_chunks.';
comment on column slot.job_id is 'The chunk that holds the slot; null: free.';
insert into slot (slot_no) values (1);

create table waker (
    one boolean primary key default true check (one),
    holder text not null default '',
    until timestamptz not null default '-infinity'
);
comment on table waker is 'One row: which process may top the queue up, and until when.';
insert into waker default values;

create table failure_export (
    one boolean primary key default true check (one),
    failed bigint not null default 0,
    exported bigint not null default 0 check (exported <= failed),
    holder text not null default '',
    until timestamptz not null default '-infinity'
);
comment on table failure_export is 'One row: how many chunks failed, how many of them telemetry has confirmed, which process sends the rest now, and until when. A process that is killed takes its own counters with it; this one must arrive.';
comment on column failure_export.failed is 'Chunks that ever ended as failed, cancelled ones left out.';
comment on column failure_export.exported is 'How many of them telemetry has confirmed.';
insert into failure_export default values;

create table job (
    job_id bigint primary key check (job_id >= 0),
    total_chunks integer,
    source_sha256 text,
    generation integer not null default 0,
    closed_at timestamptz,
    cancelled_at timestamptz,
    ended_at timestamptz,
    ended_as text check (ended_as in ('completed', 'failed', 'cancelled')),
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    check ((ended_at is null) = (ended_as is null))
);
comment on column job.total_chunks is 'The largest total_chunks seen; null: no message named one, and the job runs until it is closed.';
comment on column job.source_sha256 is 'Of the submitted file, in hex; null: the job is made of messages.';
comment on column job.generation is 'Rises with every new chunk and every retry by hand, so that a dataset.json made from older rows cannot end the job.';
comment on column job.closed_at is 'When it was said that no more chunks come; null: more may come.';
comment on column job.cancelled_at is 'When it was cancelled; null: it was not.';
comment on column job.ended_as is 'The status it ended with; null: not over.';
comment on column job.ended_at is 'When the job ended, after its dataset.json was written; null: not over.';
create index job_open on job (job_id) where ended_at is null;

create table chunk (
    job_id bigint not null references job,
    chunk_index integer not null check (chunk_index between 0 and 99999),
    state chunk_state not null default 'pending',
    priority smallint not null check (priority between 0 and 10),
    message text not null,
    attempt integer not null default 0 check (attempt >= 0),
    expiries integer not null default 0,
    releases integer not null default 0,
    fence bigint not null default 0,
    reset_fence bigint not null default 0,
    shard_fence bigint,
    slot_no integer,
    owner text,
    invocation_id text,
    lease_until timestamptz,
    not_before timestamptz,
    woken_at timestamptz,
    error_code text,
    error_message text,
    totals jsonb,
    shard_blob text,
    shard_bytes bigint,
    shard_sha256 text,
    shard_samples bigint,
    manifest_blob text,
    late_duplicates jsonb not null default '[]',
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    primary key (job_id, chunk_index),
    constraint processing_has_a_lease check (
        (state = 'processing') = (lease_until is not null)
        and (lease_until is null) = (slot_no is null)
        and (lease_until is null) = (owner is null)
        and (lease_until is null) = (invocation_id is null)),
    constraint completed_has_a_shard check (
        (state = 'completed') = (shard_fence is not null)
        and (shard_fence is null) = (shard_blob is null)
        and (shard_fence is null) = (totals is null)),
    constraint failed_has_a_reason check (state <> 'failed' or error_code is not null)
) with (fillfactor = 80);
comment on column chunk.message is 'The chunk message, version 1, as JSON: what to do. Inline items included.';
comment on column chunk.attempt is 'Claims since the last retry by hand, less releases and expiries.';
comment on column chunk.expiries is 'Leases that ran out in a row; any other outcome sets it to 0.';
comment on column chunk.releases is 'Uncharged releases in a row: the exponent of their back-off.';
comment on column chunk.fence is 'Number of the latest claim; only rises.';
comment on column chunk.reset_fence is 'The fence when the chunk was last retried by hand.';
comment on column chunk.shard_fence is 'The claim that wrote shard and manifest; null: not completed.';
comment on column chunk.slot_no is 'The slot it holds; null: not processing.';
comment on column chunk.owner is 'The process that works on it; null: nobody.';
comment on column chunk.invocation_id is 'The invocation that claimed it: a repeated claim gets the same lease back.';
comment on column chunk.lease_until is 'When the claim ends unless renewed; null: not processing.';
comment on column chunk.not_before is 'No claim is granted before; null: at once.';
comment on column chunk.woken_at is 'When a message for it was last sent; null: none is known to be under way.';
comment on column chunk.error_code is 'Why the last attempt did not complete; null: none failed yet.';
comment on column chunk.totals is 'The sums of its manifest; null: not completed.';
comment on column chunk.late_duplicates is 'Samples that a chunk completed earlier holds too: [{key, duplicate_of}].';
comment on column chunk.error_message is 'The sentence to error_code; null with it.';
comment on column chunk.shard_blob is 'Its name in the dataset container; null: not completed.';
comment on column chunk.shard_bytes is 'Length of the shard in bytes; null: not completed.';
comment on column chunk.shard_sha256 is 'Of the shard, in hex; null: not completed.';
comment on column chunk.shard_samples is 'Samples in the shard; null: not completed.';
comment on column chunk.manifest_blob is 'Its name in the dataset container; null: not completed.';
create index chunk_pending on chunk (priority desc, woken_at nulls first, created_at, chunk_index)
    where state = 'pending';
create index chunk_open on chunk (job_id) where state in ('pending', 'processing');

create table attempt (
    job_id bigint not null,
    chunk_index integer not null,
    fence bigint not null,
    owner text not null,
    invocation_id text not null,
    claimed_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    outcome attempt_outcome,
    error_code text,
    temp_peak_bytes bigint,
    primary key (job_id, chunk_index, fence),
    check ((finished_at is null) = (outcome is null))
);
comment on table attempt is 'Every claim and how it ended.';
comment on column attempt.finished_at is 'Null: under way.';
comment on column attempt.temp_peak_bytes is 'The most temp bytes it held at once; null: not known.';

create table image_hash (
    job_id bigint not null,
    sha256 bytea not null,
    chunk_index integer not null,
    key text not null,
    primary key (job_id, sha256)
);
comment on table image_hash is 'Images of completed chunks: what later chunks of the job need not keep again. Written only in the transaction that completes a chunk.';

create table rejected (
    rejected_no bigint generated always as identity primary key,
    source_key text not null unique,
    received_at timestamptz not null default clock_timestamp(),
    queue text not null,
    body text not null,
    reason text not null
);
comment on column rejected.source_key is 'The invocation, or queue and message id: a record is written once.';

create table health_check (
    check_no bigint generated always as identity primary key,
    checked_at timestamptz not null default clock_timestamp(),
    active_chunks integer not null,
    pending_chunks bigint not null,
    queue_depth integer,
    azure_state text not null,
    azure_cpu double precision,
    azure_memory double precision,
    report jsonb not null
);
comment on column health_check.queue_depth is 'Messages, roughly; null: the queue did not answer.';
