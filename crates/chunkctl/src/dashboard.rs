//! `chunkctl dashboard`: pages of the fleet and its jobs for a browser, from the views.
//!
//! A request goes through [`guard`] (who may ask, from where), then to the page of its address. A page
//! reads what it shows in one go and is a function of it; [`answer`] keeps the last reading of each address
//! for the time that the database is away. Pages work without the script, which only fetches them again.
//! [`report`] writes the page of a job into a file. Nothing of a stranger becomes a link or markup: `maud` escapes what it writes.

mod action;
mod answer;
mod asked;
mod assets;
mod chunk_page;
mod clock;
mod guard;
mod job_page;
mod jobs_page;
mod layout;
mod listen;
mod look;
mod overview;
mod paging;
mod rejected_page;
mod report;
mod room;
mod router;
mod serve;
mod show;
mod table;
mod world;

use crate::{Session, failure::tell_wrong};
use chunk_handler::state::Database;
use clap::Args;
use std::{path::PathBuf, process::ExitCode};
use world::World;

/// What stands behind the options.
const HELP: &str = "Examples:
  chunkctl dashboard
  chunkctl dashboard --allow-control
  chunkctl dashboard --write report.html --job-id 7
  PIXCRAWLER_DASHBOARD_PASSWORD=... chunkctl dashboard --listen 0.0.0.0:7072

It reads views only: a role that may read the views of schema chunk_handler is enough, but for
--allow-control. Where PIXCRAWLER_DASHBOARD_PASSWORD is set the browser asks for it, with any user
name. It speaks no TLS. From another machine a tunnel is safe, and needs no password:
ssh -L 7072:127.0.0.1:7072 HOST.

With --write it serves nothing: the page of the job, its slots (of all its time, or of the last half
hour of it) and at most 24 small pictures become one file to attach to a mail, some 100 kB, at most
8 MB. It has no script and asks nobody for anything; pictures are blurred until its reader ticks a box.
A file that is there is replaced only if it is such a report.";

/// Its options.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Dashboard {
    /// Where it listens: an address or name, and a port. Other than loopback needs a password.
    #[arg(long, default_value = "127.0.0.1:7072", value_name = "HOST:PORT")]
    listen: String,
    /// Show forms that pause, resume, retry and cancel; without it nothing can be changed.
    #[arg(long)]
    allow_control: bool,
    /// Write the page of a job into this file, which stands alone, and end.
    #[arg(long, value_name = "FILE", requires = "job_id", conflicts_with_all = ["listen", "allow_control"])]
    write: Option<PathBuf>,
    /// The job of --write, 0 to 2^63 - 1.
    #[arg(long, requires = "write", value_parser = clap::value_parser!(i64).range(0..))]
    job_id: Option<i64>,
}

impl Session {
    pub(crate) async fn dashboard(self, options: Dashboard) -> anyhow::Result<ExitCode> {
        if let (Some(path), Some(job_id)) = (&options.write, options.job_id) {
            self.refuse_another_place().await?;
            return self.write_report(job_id, path).await;
        }
        let password = self.settings.dashboard_password.clone();
        let place = match listen::open(&options.listen, password.is_some()).await {
            Ok(place) => place,
            Err((what, hint)) => return Ok(tell_wrong(what, hint.to_owned(), self.json)),
        };
        let read = Database::for_dashboard(&self.settings)?;
        // What is in another account or container would be taken for lost. It starts without the database, too.
        if matches!(read.fleet_storage().await, Ok(Some(fleet)) if fleet != self.settings.place()) {
            self.refuse_another_place().await?;
        }
        let login = read.clone();
        eprintln!("dashboard on http://{}/ until Ctrl-C", place.address);
        let guard = guard::Guard::new(place.hosts, password.as_ref(), options.allow_control);
        let world = World::new(self, read, options.allow_control);
        let room = world.room.clone();
        let routes = router::routes(world, guard);
        tokio::select! {
            never = login.keep_login() => match never {},
            () = serve::serve(place.listener, routes, room) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}
