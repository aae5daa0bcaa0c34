//! A custom handler for Azure Functions that turns chunks of image URLs into `WebDataset` shards.
//!
//! A queue message names a **chunk**: up to 500 image URLs of a crawl job. The handler claims one
//! of a limited number of **slots** in Postgres, streams the images through download, check,
//! dedupe and tar into Blob Storage, and records the outcome. A timer reclaims what dead processes
//! left and reports health.
//!
//! # The flow, in the order of the modules
//!
//! ```text
//!  queue message (JSON text)
//!    | host        the envelope of the Functions host; 200 for everything but a lost database
//!    v
//!  ChunkMessage    chunk: the vocabulary, parsed once
//!    | admission   one claim in the database and one place in the byte budget
//!    v
//!  Admitted { claim with its Lease, Allowance }
//!    | run         the lease, the deadline and the drain on one side, the work on the other
//!    v
//!  [fetch] Fetched -> [inspect] Inspected -> [dedupe] -> [shard] tar bytes -> [upload] blocks
//!    | run::work   heartbeat says held -> commit the block list -> manifest
//!    v
//!  state::complete one guarded transaction: row, hashes, slot
//!    | run         Disposition, the next wake-up, the end of the job
//!    v
//!  host            the answer: the message is deleted
//! ```
//!
//! # What must stay true
//!
//! 1. **Slots.** Chunks in `processing` never exceed the fleet limit, across all processes: the
//!    function `claim` of the database takes a slot row, or nothing.
//! 2. **Fencing.** Only the holder of a chunk's current fence changes the chunk's row, and blobs
//!    are written under conditions. A holder that cannot renew stops before its lease ends.
//! 3. **Budget.** Bytes of bodies and spooled files are reserved before they exist
//!    ([`spool::Budget`]); we count what we create and do not ask the operating system.
//! 4. **Shards.** A shard is visible exactly when its block list was committed; its manifest is
//!    written after it, and the row says `completed` only after that; every URL has one verdict.
//!
//! # The map
//!
//! | module | knows |
//! | --- | --- |
//! | [`chunk`] | ids, message, verdicts, report. No IO |
//! | [`settings`] | the environment: profiles, limits, bounds, provenance |
//! | [`spool`] | accounted bytes, temp directories, sweep |
//! | [`state`] | every SQL statement; [`state::Lease`] |
//! | [`storage`] | credentials, blob and queue calls, errors without secrets |
//! | [`pipeline`] | the stages and the queue between them |
//! | [`admission`] | may this chunk start here and now |
//! | [`run`] | one chunk to its end; the one judge of faults |
//! | [`jobs`] | submit, control, wake-ups, job ends, poison |
//! | [`identity`], [`monitor`] | the token for Azure; its metrics, for the timer |
//! | [`health`] | the timer |
//! | [`host`] | routes and envelope of the Functions host |
//! | [`background`] | heartbeat, passes, sweep, signals, parent watch |
//! | [`telemetry`] | logs |
//!
//! # Three walks
//!
//! *A crash.* The process dies between manifest and row. Its lease runs out; a claim, the
//! background pass or the timer reclaims the chunk (`pending`, slot freed, one expiry). The waker
//! sends a message, the next claim finds the shard and manifest of the earlier one and adopts them.
//!
//! *A zombie.* A process stops for longer than its lease and goes on. Its `stop_at` has passed, so
//! its work is dropped; were it quicker, the heartbeat before the commit finds another fence, the
//! commit's condition finds another version, and `complete` finds no row.
//!
//! *Full.* All slots are taken. The message is answered 200 and is gone; the chunk is a row, and
//! whoever frees a slot sends the next message.

pub mod chunk;
pub mod settings;
pub mod spool;
pub mod state;
pub mod identity;
pub mod storage;
pub mod pipeline;
pub mod admission;
pub mod run;
pub mod jobs;
pub mod monitor;
pub mod health;
pub mod host;
pub mod background;
pub mod telemetry;
