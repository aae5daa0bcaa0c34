-- A chunk can be deduplicated with other jobs. An earlier release would not look at them, and keep what
-- they hold without a word: once a chunk asks for it, it runs under this release or a later one only.

create function note_with_jobs() returns trigger language plpgsql as $$
begin
    if exists (select from chunk_handler.fleet where min_handler < 11) then
        -- The order of announce, or a claim that registers the chunk and an announcement would deadlock.
        perform pg_advisory_xact_lock_shared(7110421, 1);
        update chunk_handler.fleet set min_handler = 11 where min_handler < 11;
    end if;
    return null;
end $$;

-- The text is our own, with blanks where extend wrote it. It is not parsed: not all JSON is jsonb.
create trigger chunk_with_jobs after insert on chunk for each row
    when (new.message ~ '"dedupe": ?\{"scope": ?"job", ?"with_jobs": ?\[[0-9]')
    execute function note_with_jobs();
