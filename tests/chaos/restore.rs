//! A server that is put back to an earlier point, and what its operator does then.

use crate::{
    fault::{GIVEN, SERVER},
    plan::{Dice, Fault},
    site::Site,
};
use anyhow::Result;
use support::env;
use tokio::time::sleep;

/// Copies the data, goes on, and puts the copy back.
pub async fn restore(site: &Site, dice: &mut Dice) -> Result<()> {
    let _turn = site.turns[SERVER].lock().await;
    let postgres = env::postgres().await?;
    if !postgres.is_private() {
        site.tally.leave_out(Fault::Restore, GIVEN);
        return Ok(());
    }
    let backup = postgres.back_up().await?;
    sleep(dice.millis(500, 4000)).await;
    let before = failures(site).await.unwrap_or_default();
    site.forget();
    postgres.restore(&backup).await?;
    site.forget();
    site.tally.count(Fault::Restore);
    // Told of, and forgotten.
    site.told_in_vain(before - failures(site).await.unwrap_or(before));
    Ok(())
}

async fn failures(site: &Site) -> Result<i64> {
    let sql = "select count(*) from chunk_handler.chunk
        where state = 'failed' and error_code <> 'cancelled'";
    site.look(sql).await
}
