//! Real parts and what tests share: servers, programs, a rig for each test, checks of invariants.

pub mod azurite;
pub mod blob;
pub mod canary;
pub mod cases;
pub mod checkout;
pub mod child;
pub mod doctor;
pub mod env;
pub mod gate;
pub mod identity;
pub mod ingestion;
pub mod invariants;
pub mod job;
pub mod odd;
pub mod origin;
pub mod pooler;
pub mod postgres;
pub mod programs;
pub mod proxy;
pub mod python;
pub mod raw;
pub mod rig;
pub mod tool;
pub mod verdict;
pub mod workdir;
pub mod world;
