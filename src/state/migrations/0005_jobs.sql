-- A submit is kept as it was registered.

alter table job add column submitted jsonb;
comment on column job.submitted is 'Options and sizes of the submit that registered it; null: the job is made of messages, or an earlier release registered it.';
