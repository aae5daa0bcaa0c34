//! The shared Postgres and Azurite of a test run: those that `cargo xtask test` handed over, or private
//! ones that live as long as this process.

use anyhow::Result;
use tokio::sync::OnceCell;

use crate::azurite::{Azurite, AzuriteOptions};
use crate::postgres::{Postgres, PostgresOptions};

/// The variable that hands over the address of a Postgres server.
pub const DATABASE_URL: &str = "TEST_DATABASE_URL";
/// The variable that hands over a storage connection string.
pub const STORAGE: &str = "TEST_STORAGE";

/// The server to make databases in.
pub async fn postgres() -> Result<&'static Postgres> {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    let server = || async {
        match std::env::var(DATABASE_URL) {
            Ok(url) => Postgres::given(&url),
            Err(_) => Postgres::given_or_start(PostgresOptions::default()).await,
        }
    };
    SERVER.get_or_try_init(server).await
}

/// The address of the database that the server was given with.
pub async fn database_url() -> Result<&'static str> {
    Ok(postgres().await?.base_url())
}

/// The connection string of the storage account.
pub async fn storage() -> Result<String> {
    static EMULATOR: OnceCell<Azurite> = OnceCell::const_new();
    if let Ok(given) = std::env::var(STORAGE) {
        return Ok(given);
    }
    let emulator = || Azurite::start(AzuriteOptions::default());
    Ok(EMULATOR.get_or_try_init(emulator).await?.connection_string())
}
