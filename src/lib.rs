//! The chunk handler.

pub mod chunk;
pub mod settings;
pub mod spool;
pub mod state;
pub mod storage;
