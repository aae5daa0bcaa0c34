//! The product's SQL functions, called as its processes call them.

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::str::FromStr as _;
use support::rig::Rig;

/// The database of a rig, seen through the product's schema.
pub struct Sql {
    pub pool: PgPool,
}

impl Sql {
    /// A database with its schema in place and nobody at work in it.
    pub async fn new(rig: &Rig, connections: u32) -> Self {
        assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
        let options = PgConnectOptions::from_str(&rig.database_url)
            .unwrap()
            .options([("search_path", "chunk_handler")]);
        let pool = PgPoolOptions::new().max_connections(connections);
        Self { pool: pool.connect_with(options).await.unwrap() }
    }

    /// Sets the fleet limit as a starting process does.
    pub async fn announce(&self, limit: i32) {
        let announce =
            sqlx::query("select announce($1, 'local', 500, 20000, (select storage from fleet), 0)");
        announce.bind(limit).execute(&self.pool).await.unwrap();
    }

    /// A job of chunks that nobody has claimed yet.
    pub async fn job(&self, job_id: i64, chunks: i32) {
        let job = "insert into job (job_id, total_chunks) values ($1, $2)";
        sqlx::query(job).bind(job_id).bind(chunks).execute(&self.pool).await.unwrap();
        let chunk = "insert into chunk (job_id, chunk_index, priority, message)
            select $1, i, 5, '{}' from generate_series(0, $2 - 1) i";
        sqlx::query(chunk).bind(job_id).bind(chunks).execute(&self.pool).await.unwrap();
    }

    /// Claims a chunk of job 1: the answer, and the fence.
    pub async fn claim(&self, index: i32, token: &str) -> (String, i64) {
        let claim = "select answer::text, coalesce(fence, 0)
            from claim(1, $1, null, 'test', $2, $2, 60, 5::smallint, null)";
        let claim = sqlx::query_as(claim).bind(index).bind(token);
        claim.fetch_one(&self.pool).await.unwrap()
    }

    /// Claims a chunk of job 1 that must be free; the fence. Where a handler is at work, its waker may
    /// hold the row for a moment, as it may from any message.
    pub async fn claimed(&self, index: i32) -> i64 {
        let token = self.value::<String>("select gen_random_uuid()::text").await;
        loop {
            match self.claim(index, &token).await {
                (answer, fence) if answer == "claimed" => return fence,
                (answer, _) => assert_eq!(answer, "locked", "chunk {index}"),
            }
        }
    }

    /// Completes a chunk of job 1 with an empty shard; false: the lease was lost.
    pub async fn complete(&self, index: i32, fence: i64) -> bool {
        let complete = r#"select complete(1, $1, (select token from attempt where job_id = 1
                and chunk_index = $1 and fence = $2), $2, 'claim', '{"images_valid": 0}',
            '{"blob": "b", "bytes": 0, "sha256": "00", "samples": 0}', 'm', '{}', '{}')"#;
        let complete = sqlx::query_scalar(complete).bind(index).bind(fence);
        complete.fetch_one(&self.pool).await.unwrap()
    }

    /// Gives a chunk of job 1 up, at most four attempts; what became of it.
    pub async fn give_up(&self, index: i32, fence: i64, outcome: &str) -> Option<String> {
        let give_up = "select give_up(1, $1, (select token from attempt where job_id = 1
                and chunk_index = $1 and fence = $2), $3::text::attempt_outcome, 'code', 'message',
            4, 5, 300, 0)::text";
        let give_up = sqlx::query_scalar(give_up).bind(index).bind(fence).bind(outcome);
        give_up.fetch_one(&self.pool).await.unwrap()
    }

    /// Lets every lease run out, and reclaims; how many there were.
    pub async fn expire_all(&self) -> i32 {
        self.execute(
            "update chunk set lease_until = clock_timestamp() - interval '1 s'
            where state = 'processing'",
        )
        .await;
        sqlx::query_scalar("select reclaimed from reclaim(null)")
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Makes every chunk due.
    pub async fn due(&self) {
        self.execute("update chunk set not_before = null").await;
    }

    pub async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.pool).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    pub async fn value<T>(&self, sql: &'static str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        let value = sqlx::query_scalar(sql).fetch_one(&self.pool).await;
        value.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }
}
