//! The chunk handler.

pub mod chunk;
pub mod settings;
