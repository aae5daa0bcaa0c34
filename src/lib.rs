//! A custom handler for Azure Functions that turns chunks of image URLs into `WebDataset` shards.
//!
//! A queue message names a **chunk**: up to 500 image URLs of a crawl job. The handler claims one
//! of a limited number of **slots** in Postgres, streams the images through download, check,
//! dedupe and tar into Blob Storage, and records the outcome. A timer reclaims what dead processes
//! left and reports health.
//!
//! This package is the handler and nothing else: some 13,900 lines of Rust with their
//! unit tests, and 1,500 of SQL.
//! Whether bytes are a picture is the crate `imagecheck`; the command line is `chunkctl`. What the
//! design rests on stands in `doc/`.
//!
//! # The flow
//!
//! ```text
//!  queue message (JSON text)
//!    | host        envelope of the Functions host -> ChunkMessage, checked
//!    v
//!  run             one chunk to its end; its Disposition says what becomes of the message
//!    | admission   a chunk permit of this instance, then one claim in the database
//!    v
//!  Admitted { Claim with its Lease and the registered message, Allowance of bytes }
//!    | run::work   the source -> pipeline -> commit the block list -> manifest,
//!    |             against the end of the lease, the deadline and the drain
//!    v
//!  [fetch] Fetched -> imagecheck -> Inspected -> [dedupe] -> [shard] tar bytes -> [upload] blocks
//!    v
//!  Manifest
//!    | state       complete: one guarded transaction for row, hashes and slot
//!    v
//!  wake, jobs      the next message; the job's documents when it was the last chunk
//! ```
//!
//! A chunk that ends in a fault goes from `run::work` to `run::fault`, which says who pays, and to
//! `give_up` in the database.
//!
//! # What must stay true
//!
//! 1. **Slots.** Chunks in `processing` never exceed the fleet limit, across all processes: the
//!    function `claim` of the database takes a slot row, or nothing.
//! 2. **Fencing.** Only the holder of a chunk's current token changes the chunk's row, and blobs
//!    are written under conditions. A holder that cannot renew stops before its lease ends
//!    ([`state::LeaseTerms`] has the arithmetic).
//! 3. **Budget.** Bytes of bodies and spooled files are reserved before they exist
//!    ([`spool::Budget`]); we count what we create and do not ask the operating system.
//! 4. **Shards.** A shard is visible exactly when its block list was committed; its manifest is
//!    written after it, and the row says `completed` only after that; every URL has one verdict.
//!
//! `doc/invariants.md` numbers them (I1, I2, ...) and names the tests.
//!
//! # The words
//!
//! | word | means |
//! | --- | --- |
//! | host | the Azure Functions host, which starts this process and posts invocations |
//! | origin | a server that images come from: host name and port |
//! | busy, probe | of an origin: it wants to be left alone, or gets less since it did; the first download after that |
//! | refuse, trial | of an origin: to ask for a wait instead of answering; a chunk's first request to one that refuses others |
//! | bound, free | of a chunk at an origin that refuses: it waits with those that were refused, or goes by its own answers |
//! | chunk, job | the unit of work; the crawl it belongs to |
//! | slot | one unit of the fleet's limit, a row in the database |
//! | permit | one unit of a limit of this process: chunks at once, downloads at once |
//! | seat, turn | a chunk's place among those who share something; the right to use one unit of it |
//! | claim | to take a slot and a lease in one statement; also what was taken |
//! | lease, renew | the right to work until a moment; to move that moment |
//! | fence | the number of a claim, which only rises unless the database is restored |
//! | token | 32 random digits of a claim, never given twice; every effect carries it |
//! | expire, reclaim | a lease runs out; the chunk goes back to `pending` |
//! | admit, defer | to let a chunk start here; to leave it for a later message |
//! | release, retry | to give a chunk back without and with charging an attempt |
//! | completion | what completes a chunk's row |
//! | fault, error code | why a run ended without a manifest; the word for it in the row |
//! | verdict, reason | what became of a URL, and why |
//! | allowance, reservation | a chunk's part of the byte budget; bytes that are paid for |
//! | spool | temporary files that we created and count |
//! | caption, class | what an item's picture shows: in words; as an integer |
//! | sample, shard, manifest | an image with its JSON, and its text and class if asked for; the tar of samples; one verdict for each URL |
//! | stage, commit | Blob Storage's words: to send a block; to make the block list the blob |
//! | adopt | to take over shard and manifest of an earlier claim instead of working again |
//! | wake | to send a message for a chunk that could start |
//! | duty | one item of the upkeep |
//! | keep, remove | how long rows of what is over stay; what happens to them then |
//! | poison | a message that the host gave up on |
//! | extension | further chunks of a job, of another list |
//! | try, asked again | of a URL: one item of the job for it; the later ones |
//! | disposition | what the host should do with a message: delete, record, redeliver |
//! | filter | what a message refuses by the header of a picture |
//! | blocklist, blocked | what the operator never wants: hosts, and bytes by their hash; what is on it |
//! | standstill | time in which the process itself did not run; no limit counts it |
//! | drain | the orderly end: no chunk starts, running ones finish or are released |
//!
//! # Three walks
//!
//! *A crash.* The process dies between manifest and row. Its lease runs out; a claim, the upkeep or
//! the timer reclaims the chunk (`pending`, slot freed, one expiry). The waker sends a message, the
//! next claim finds shard and manifest of the earlier one and adopts them.
//!
//! *A zombie.* A process stops for longer than its lease and goes on. The time that it may trust
//! its lease is over, so its work is dropped; were it quicker, the renewal before the commit finds
//! another token, the commit's condition finds another version, and `complete` finds no row.
//!
//! *Full.* All slots are taken. The message is answered 200 and is gone; the chunk is a row, and the
//! process that frees a slot sends the next message.

pub mod blocklist;
pub mod chunk;
pub mod circuit;
pub mod stall;
pub mod descriptors;
mod turns;
pub mod redact;
pub mod words;
pub mod settings;
pub mod spool;
pub mod state;
mod identity;
pub mod storage;
pub mod telemetry;
pub mod process;
pub mod wake;
pub mod jobs;
pub mod pipeline;
mod admission;
pub mod run;
pub mod upkeep;
pub mod health;
pub mod background;
pub mod host;
