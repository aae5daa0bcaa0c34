//! Each machine is a role of its own in the database, with the rights that work needs and no more.

use anyhow::Result;
use sqlx::{AssertSqlSafe, PgPool};

use crate::machine::PASSWORD;

/// What a role may, and what it must be able to lose without harm: each is granted and revoked as
/// `RIGHT to ROLE` and `RIGHT from ROLE`. `{database}` stands for its name.
pub const RIGHTS: [&str; 14] = [
    "connect on database {database}",
    "usage on schema chunk_handler",
    "all on all tables in schema chunk_handler",
    "all on all sequences in schema chunk_handler",
    "execute on all functions in schema chunk_handler",
    "execute on function chunk_handler.claim",
    "execute on function chunk_handler.complete",
    "execute on function chunk_handler.give_up",
    "execute on function chunk_handler.reclaim",
    "update on chunk_handler.chunk",
    "update on chunk_handler.slot",
    "insert on chunk_handler.attempt",
    "insert on chunk_handler.image_hash",
    "select on chunk_handler.chunk_status",
];

/// The name of the database, of which these roles are.
pub async fn database(pool: &PgPool) -> Result<String> {
    Ok(sqlx::query_scalar("select current_database()").fetch_one(pool).await?)
}

/// Makes a role for a machine; the schema must be there.
pub async fn role(pool: &PgPool, n: usize) -> Result<String> {
    let database = database(pool).await?;
    let role = format!("machine_{n}_of_{database}");
    let create = format!("create role {role} login password '{PASSWORD}'");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(pool).await?;
    for right in
        ["connect on database {database}", "execute on all functions in schema chunk_handler"]
    {
        change(pool, "revoke", right, "public").await?;
    }
    grant_all(pool, &role).await?;
    Ok(role)
}

/// Gives a role all that it needs, whatever it has.
pub async fn grant_all(pool: &PgPool, role: &str) -> Result<()> {
    for right in RIGHTS {
        change(pool, "grant", right, role).await?;
    }
    Ok(())
}

/// `grant` or `revoke`, for a role.
pub async fn change(pool: &PgPool, verb: &str, right: &str, role: &str) -> Result<()> {
    let right = right.replace("{database}", &database(pool).await?);
    let direction = if verb == "grant" { "to" } else { "from" };
    let statement = format!("{verb} {right} {direction} {role}");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(pool).await?;
    Ok(())
}
