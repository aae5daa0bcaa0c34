//! The custom handler: the Functions host starts it, gives it a port and posts invocations.

use anyhow::Context as _;
use chunk_handler::{
    background::{self, Ending},
    descriptors,
    health::Health,
    host::{self, Handler},
    pipeline::Stages,
    process::Process,
    run::Runner,
    settings::{Program, Settings},
    spool::{Budget, TempDir},
    state::{Database, Keeper},
    storage::Storage,
    telemetry::{self, Export},
    upkeep::Upkeep,
};
use std::{os::unix::process::parent_id, pin::pin, process::ExitCode, sync::Arc, time::Duration};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

/// Threads for files and pictures. Each body has at most one under way, and none of them is long but
/// the pictures, which have turns.
const BLOCKING_THREADS: usize = 64;
/// How long answers that are ready may take to go out.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// Exit code of invalid settings.
const INVALID_SETTINGS: u8 = 2;
/// The host restarts a process that ends with it and counts no strike (rule H1).
const DELIBERATE: u8 = 200;

fn main() -> anyhow::Result<ExitCode> {
    // First: a host may die in these milliseconds, and its death must be noticed all the same.
    let parent = parent_id();
    let settings = match Settings::load(Program::Handler) {
        Ok(settings) => settings,
        Err(violations) => {
            report(&violations);
            return Ok(ExitCode::from(INVALID_SETTINGS));
        }
    };
    let descriptors = descriptors::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("starting the runtime")?;
    let export = Export::open(&settings, runtime.handle());
    let usable = export.as_ref().ok().and_then(Option::as_ref);
    telemetry::install(&settings.log_filter, telemetry::Output::Stdout, usable);
    if let Err(error) = &export {
        tracing::warn!("{error}");
    }
    let export = export.unwrap_or(None);
    let ending = runtime.block_on(serve(settings, export.clone(), parent, descriptors))?;
    if let Some(export) = export {
        runtime.block_on(export.finish());
    }
    runtime.shutdown_timeout(Duration::from_millis(500));
    Ok(match ending {
        Ending::Clean => ExitCode::SUCCESS,
        Ending::Deliberate => ExitCode::from(DELIBERATE),
        Ending::Abrupt => ExitCode::FAILURE,
    })
}

#[expect(clippy::print_stderr, reason = "errors of the start, before any log exists (rule H12)")]
fn report(violations: &[chunk_handler::settings::Violation]) {
    for violation in violations {
        eprintln!("{violation}");
    }
}

/// Listens before it connects to anything: the host waits 30 s for the first answer.
async fn serve(
    settings: Settings,
    export: Option<Export>,
    parent: u32,
    descriptors: u64,
) -> anyhow::Result<Ending> {
    for warning in settings.slips.iter().chain(&settings.warnings) {
        tracing::warn!("{warning}");
    }
    let port = settings.host.port.unwrap_or_default();
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("listening on 127.0.0.1:{port}"))?;
    let directory = TempDir::create(&settings.temp_root)
        .with_context(|| format!("making a temp directory in {}", settings.temp_root.display()))?;
    let budget = Budget::new(&settings.limits, directory);
    let database = Database::of_settings(&settings)?;
    let storage = Storage::open(&settings)?;
    let stages = Stages::new(&settings).context("setting up the download client")?;
    let (profile, version) = (settings.profile, env!("CARGO_PKG_VERSION"));
    tracing::info!(port, %profile, version, descriptors, "started");
    let keeper = Arc::new(Keeper::new(database.clone()));
    let process = Arc::new(Process::new(settings, database, storage, budget));
    let upkeep = Arc::new(Upkeep::new(Arc::clone(&process)));
    let runner = Runner::new(Arc::clone(&process), stages, Arc::clone(&keeper));
    let health = Health::open(Arc::clone(&process), Arc::clone(&upkeep), export.clone())
        .context("setting up the client of Azure Monitor")?;
    let handler = Handler::new(Arc::clone(&process), runner, health);
    let mut background =
        background::start(&process, keeper, upkeep, handler.invocations(), export)?;
    let stop_serving = CancellationToken::new();
    let mut serve = pin!(host::serve(listener, handler.routes(), stop_serving.clone()));
    let ending = tokio::select! {
        ending = background::until_shutdown(
            &process,
            handler.invocations(),
            parent,
            handler.asked(),
        ) => ending?,
        () = &mut serve => Ending::Abrupt,
    };
    // Answers that are ready still go out.
    stop_serving.cancel();
    timeout(LAST_ANSWERS, serve).await.unwrap_or_default();
    background.shutdown().await;
    tracing::info!(?ending, "stopped");
    process.budget.directory().remove();
    Ok(ending)
}
