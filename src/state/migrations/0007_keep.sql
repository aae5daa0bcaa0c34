-- What is old goes. A job keeps its hashes and attempts for as long as settings say after its end;
-- nothing of a job that has not ended goes, and the constraints below say so, whoever reopens it.

create table removal (
    one boolean primary key default true check (one),
    holder text not null default '',
    until timestamptz not null default '-infinity'
);
comment on table removal is 'One row: which process last removed what is old, and until when no other does.';
insert into removal default values;

alter table job
    add column hashes text not null default 'kept' check (hashes in ('kept', 'going', 'gone')),
    add column attempts_gone_at timestamptz,
    add column going_at timestamptz,
    add constraint an_open_job_has_its_hashes check (ended_at is not null or hashes = 'kept'),
    add constraint an_open_job_stays check (ended_at is not null or going_at is null);
comment on column job.hashes is 'Whether image_hash has the images of its completed chunks: kept (all), going (some), gone (none).';
comment on column job.attempts_gone_at is 'When the attempts of its claims were removed; null, or before its end: they are there.';
comment on column job.going_at is 'Since when the job itself is being removed; null: it stays.';

-- Each finds the job that is next without looking at those that are done with.
create index job_hashes_left on job (ended_at) where hashes <> 'gone';
create index job_attempts_left on job (ended_at)
    where attempts_gone_at is null or attempts_gone_at < ended_at;
create index job_ended on job (ended_at) where ended_at is not null;
create index rejected_received on rejected (received_at);
create index health_checked on health_check (checked_at);

-- The server's defaults wait for a fifth of a table to change. Of a million chunks ten thousand are
-- pending at most: statistics that do not know of them, and an index of pending chunks that is full of
-- those that are over, make the waker's statement slower by two orders of magnitude.
alter table chunk set (
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_scale_factor = 0.005, autovacuum_vacuum_threshold = 10000);
alter table job set (autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 200);
-- What is removed is a small part of these every day; its space is to be used again.
alter table image_hash set (autovacuum_vacuum_scale_factor = 0.02);
alter table attempt set (autovacuum_vacuum_scale_factor = 0.02);

-- A release that knows less would take the hashes of a chunk that runs again for those of others.
alter table fleet alter column min_handler set default 7;
update fleet set min_handler = 7;
