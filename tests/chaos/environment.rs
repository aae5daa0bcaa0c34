//! What the environment of a process does to it: rights, keys, a server that takes no writes, a schema
//! that is too new, no descriptors. Each is mended after a while, and once more when the round is over.

use crate::{
    fault::{SERVER, machines, prlimit},
    machine::Machine,
    plan::{Dice, Fault},
    rights::{self, RIGHTS},
    site::Site,
};
use anyhow::Result;
use sqlx::AssertSqlSafe;
use support::proxy::{Answer, Proxy};
use tokio::time::sleep;

/// Places of the services that speak HTTP, among proxies and turns.
const BLOB: usize = 1;
const QUEUE: usize = 2;

/// A role loses a right, and its connections with it where the right is to connect.
pub async fn revoke(site: &Site, dice: &mut Dice) {
    let Some(machine) = machines(site, dice).next() else { return };
    let right = dice.pick(&RIGHTS);
    let Ok(()) = rights::change(&site.pool, "revoke", right, &machine.role).await else { return };
    site.tally.count(Fault::Revoke);
    if right.starts_with("connect") {
        let ended = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1";
        let _ = sqlx::query(ended).bind(&machine.role).execute(&site.pool).await;
    }
    sleep(dice.millis(1000, 5000)).await;
    // The server may be away: then the end of the round mends it.
    let _ = rights::grant_all(&site.pool, &machine.role).await;
}

/// A role of a storage account is gone, a firewall is in between, or the containers are.
const REFUSALS: [Answer; 3] = [
    Answer { status: "403 Forbidden", code: "AuthorizationPermissionMismatch" },
    Answer { status: "403 Forbidden", code: "AuthorizationFailure" },
    Answer { status: "404 Not Found", code: "ContainerNotFound" },
];

/// One service refuses one process, or all of them.
pub async fn forbid(site: &Site, dice: &mut Dice) {
    let service = dice.pick(&[BLOB, QUEUE]);
    let Ok(_turn) = site.turns[service].try_lock() else { return };
    let mut answer = dice.pick(&REFUSALS);
    if service == QUEUE && answer.code == "ContainerNotFound" {
        answer.code = "QueueNotFound";
    }
    let n = if dice.below(2) == 0 { 1 } else { site.machines.len() };
    let proxies: Vec<_> = machines(site, dice).take(n).map(|m| &m.lane.proxies[service]).collect();
    site.tally.count(Fault::Forbid);
    answered(&proxies, answer, dice).await;
}

/// The key of the account is another one, until the settings follow.
pub async fn rotate(site: &Site, dice: &mut Dice) {
    let Ok(_blob) = site.turns[BLOB].try_lock() else { return };
    let Ok(_queue) = site.turns[QUEUE].try_lock() else { return };
    let proxies: Vec<_> = site.machines.iter().flat_map(|m| &m.lane.proxies[BLOB..]).collect();
    site.tally.count(Fault::Rotate);
    answered(&proxies, Answer { status: "403 Forbidden", code: "AuthenticationFailed" }, dice)
        .await;
}

async fn answered(proxies: &[&Proxy], answer: Answer, dice: &mut Dice) {
    proxies.iter().for_each(|proxy| proxy.answer(answer));
    sleep(dice.millis(1000, 5000)).await;
    proxies.iter().for_each(|proxy| proxy.resume());
}

/// What was a primary is a replica: its sessions are ended, and new ones take no writes.
pub async fn read_only(site: &Site, dice: &mut Dice) {
    let Ok(_turn) = site.turns[SERVER].try_lock() else { return };
    if set_read_only(site, true).await.is_ok() {
        site.tally.count(Fault::ReadOnly);
        sleep(dice.millis(1000, 4000)).await;
    }
    // The end of the round mends it where this does not.
    let _ = set_read_only(site, false).await;
}

/// Says so for the sessions to come, and ends those of handlers when it becomes so. When it is over, the
/// operator has the pooler connect again: its sessions would stay as they began, whatever its clients
/// do; a handler's own are the handler's to close. The owner, who is the operator and this test, is left
/// out when the fleet starts.
pub async fn set_read_only(site: &Site, is_so: bool) -> Result<()> {
    let value = if is_so { "on" } else { "off" };
    let database = rights::database(&site.pool).await?;
    let statement =
        format!("alter database {database} set default_transaction_read_only = {value}");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&site.pool).await?;
    let ended = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and usename <> current_user and ($1 or usename = $2)";
    sqlx::query(ended).bind(is_so).bind(&site.pooled_role).execute(&site.pool).await?;
    Ok(())
}

/// The newest schema that anybody could have.
const NEWER: &str = "update chunk_handler.fleet set min_handler = 1000000";

/// A deployment brought a schema that these handlers are too old for, and takes it back.
pub async fn newer_schema(site: &Site, dice: &mut Dice) {
    let Some(mend) = &site.mend_schema else {
        return site.tally.leave_out(Fault::NewerSchema, "the schema names no oldest handler");
    };
    if sqlx::raw_sql(NEWER).execute(&site.pool).await.is_ok() {
        site.tally.count(Fault::NewerSchema);
        sleep(dice.millis(1000, 5000)).await;
        let _ = sqlx::raw_sql(AssertSqlSafe(mend.clone())).execute(&site.pool).await;
    }
}

/// What sets the oldest handler back to what it is now, where the schema has one.
pub async fn mend_schema(pool: &sqlx::PgPool) -> Result<Option<String>> {
    let sql = "select format('update chunk_handler.fleet set min_handler = %s',
            to_jsonb(f) -> 'min_handler')
        from chunk_handler.fleet f where to_jsonb(f) ? 'min_handler'";
    Ok(sqlx::query_scalar(sql).fetch_optional(pool).await?)
}

/// A process has no descriptor left for what it wants to open.
pub async fn descriptors(site: &Site, dice: &mut Dice) {
    let Some((pid, _)) = machines(site, dice).find_map(Machine::handler) else { return };
    // Fewer than it has: those stay open.
    if !prlimit(pid, "--nofile=8:") {
        return site.tally.leave_out(Fault::Descriptors, "prlimit does not work here");
    }
    site.tally.count(Fault::Descriptors);
    sleep(dice.millis(500, 3000)).await;
    prlimit(pid, "--nofile=1024:");
}
