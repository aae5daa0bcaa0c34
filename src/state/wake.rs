//! Which chunks get a message, and who may hand messages out.

use super::{Database, Error};
use crate::chunk::ChunkId;
use std::time::Duration;

/// How long a process may top the queue up before another may.
const WAKER_LEASE_SECONDS: f64 = 10.0;
/// A chunk that was woken and has not started is woken again after this: its message is lost.
pub(crate) const WAKE_AGAIN: Duration = Duration::from_secs(60);

impl Database {
    /// Takes the waker's lease; false when another process has it.
    pub(crate) async fn take_waker(&self, owner: &str) -> Result<bool, Error> {
        let statement = sqlx::query(
            "-- take_waker
            update waker set holder = $1, until = clock_timestamp() + make_interval(secs => $2)
            where (select holder = $1 or until < clock_timestamp() from waker for update skip locked)",
        )
        .bind(owner)
        .bind(WAKER_LEASE_SECONDS);
        let done = ask!(self.pool, self.cap, "take_waker", statement.execute)?;
        Ok(done.rows_affected() == 1)
    }

    /// Lets another process top the queue up.
    pub(crate) async fn leave_waker(&self, owner: &str) -> Result<(), Error> {
        let statement =
            sqlx::query("-- leave_waker\nupdate waker set until = '-infinity' where holder = $1")
                .bind(owner);
        ask!(self.pool, self.cap, "leave_waker", statement.execute).map(drop)
    }

    /// Picks up to `n` chunks that could start and were not woken within `again`, first things first,
    /// and notes that they are woken.
    pub async fn pick_to_wake(&self, n: usize, again: Duration) -> Result<Vec<ChunkId>, Error> {
        // The limit of the first part is a constant, and the job is looked up row by row, so that every
        // plan walks the index of pending chunks and stops: sorting all of them, however few are
        // wanted, takes 25 ms where 15,000 wait.
        let statement = sqlx::query_as(
            "-- pick_to_wake
            with next as (
                select c.job_id, c.chunk_index from chunk c
                where c.state = 'pending'
                    and (c.not_before is null or c.not_before <= clock_timestamp())
                    and (c.woken_at is null
                        or c.woken_at < clock_timestamp() - make_interval(secs => $2))
                    and (select j.ended_at is null and j.cancelled_at is null
                        from job j where j.job_id = c.job_id)
                    and not exists (select from fleet where paused_until > clock_timestamp())
                    and (c.expiries < 3 or not exists (
                        select from slot s join chunk o on o.job_id = s.job_id
                            and o.chunk_index = s.chunk_index where o.expiries >= 3))
                order by c.priority desc, c.woken_at nulls first, c.created_at, c.chunk_index
                limit 100
            ), picked as (
                select c.job_id, c.chunk_index from next n
                join chunk c on c.job_id = n.job_id and c.chunk_index = n.chunk_index
                where c.state = 'pending'
                    and (c.woken_at is null
                        or c.woken_at < clock_timestamp() - make_interval(secs => $2))
                order by c.priority desc, c.woken_at nulls first, c.created_at, c.chunk_index
                limit $1 for no key update of c skip locked
            ), woken as (
                update chunk c set woken_at = clock_timestamp()
                from picked p where c.job_id = p.job_id and c.chunk_index = p.chunk_index
                returning c.job_id, c.chunk_index, c.priority, c.created_at
            )
            select job_id, chunk_index from woken
            order by priority desc, created_at, chunk_index",
        )
        .bind(i64::try_from(n).unwrap_or(i64::MAX))
        .bind(again.as_secs_f64());
        let rows: Vec<(i64, i32)> = ask!(self.pool, self.cap, "pick_to_wake", statement.fetch_all)?;
        Ok(rows.into_iter().map(|(job_id, chunk_index)| ChunkId { job_id, chunk_index }).collect())
    }

    /// Notes that no message is under way for the chunk, so that the waker may send one.
    pub(crate) async fn unwake(&self, id: ChunkId) -> Result<(), Error> {
        let statement = sqlx::query(
            "-- unwake
            update chunk set woken_at = null
            where job_id = $1 and chunk_index = $2 and state = 'pending'",
        )
        .bind(id.job_id)
        .bind(id.chunk_index);
        ask!(self.pool, self.cap, "unwake", statement.execute).map(drop)
    }
}
