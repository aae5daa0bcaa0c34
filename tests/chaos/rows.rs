//! Rows that somebody deletes by hand.

use crate::{
    jobs::INLINE,
    plan::{Dice, Fault},
    site::Site,
};
use anyhow::Result;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long a row to delete is looked for.
const PATIENCE: Duration = Duration::from_secs(6);

pub async fn delete(site: &Site, dice: &mut Dice) {
    let (is_slot, end) = (dice.below(2) == 0, Instant::now() + PATIENCE);
    while Instant::now() < end {
        let deleted = if is_slot { slot(site).await } else { chunk(site, dice).await };
        // The server may be away, or no row be there.
        if deleted.unwrap_or(false) {
            return site.tally.count(Fault::DeleteRow);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// A slot that nobody holds: one that is held is a chunk's, and the next case.
async fn slot(site: &Site) -> Result<bool> {
    let sql = "delete from chunk_handler.slot where slot_no = (select max(slot_no)
        from chunk_handler.slot where job_id is null for update skip locked)";
    Ok(sqlx::raw_sql(sql).execute(&site.pool).await?.rows_affected() > 0)
}

/// A chunk that is not over, with its claims, whatever works on it; its sender sends it again.
async fn chunk(site: &Site, dice: &mut Dice) -> Result<bool> {
    let mut by_hand = site.pool.begin().await?;
    // A job that ends just now would end without it.
    let keep_open = "update chunk_handler.job set generation = generation + 1
        where job_id = $1 and ended_at is null returning job_id";
    if sqlx::query(keep_open).bind(INLINE).fetch_optional(&mut *by_hand).await?.is_none() {
        return Ok(false);
    }
    let sql = "delete from chunk_handler.chunk where job_id = $1 and chunk_index = (
            select chunk_index from chunk_handler.chunk
            where job_id = $1 and state in ('pending', 'processing')
            order by state desc, chunk_index limit 1)
        returning chunk_index";
    let found: Option<i32> =
        sqlx::query_scalar(sql).bind(INLINE).fetch_optional(&mut *by_hand).await?;
    let Some(index) = found else { return Ok(false) };
    let sql = "delete from chunk_handler.attempt where job_id = $1 and chunk_index = $2";
    sqlx::query(sql).bind(INLINE).bind(index).execute(&mut *by_hand).await?;
    site.forget();
    by_hand.commit().await?;
    sleep(dice.millis(200, 2000)).await;
    site.send_again(&[(INLINE, index)]).await;
    Ok(true)
}
