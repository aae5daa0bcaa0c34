//! The chunk handler.

pub mod admission;
pub mod background;
pub mod chunk;
pub mod health;
pub mod host;
pub mod jobs;
pub mod pipeline;
pub mod run;
pub mod settings;
pub mod spool;
pub mod state;
pub mod storage;
pub mod telemetry;
