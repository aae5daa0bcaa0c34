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
    site.forget();
    postgres.restore(&backup).await?;
    site.forget();
    site.tally.count(Fault::Restore);
    // What is told until the server goes down, and not known when it is back: that is told again, or of
    // chunks that do not fail this time.
    let told = site.ingestion.sum("failed_chunks").unwrap_or_default();
    let known = known_told(site).await.unwrap_or(told);
    site.told_in_vain((told - known - site.n_told_in_vain()) as i64);
    Ok(())
}

async fn known_told(site: &Site) -> Result<f64> {
    site.look("select exported::float8 from chunk_handler.failure_export").await
}
