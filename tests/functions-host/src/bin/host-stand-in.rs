//! The stand-in for the Azure Functions host, as a program of its own.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use functions_host::{Options, run};

const HELP: &str = "\
Stand-in for the Azure Functions host, for machines without one. It is not the real one: it shows a
custom handler what host 4.1037 with queue extension 5.3.10 was seen to do.

usage: host-stand-in --root DIR [options]

  --root DIR          the app root: host.json, local.settings.json, one folder a function
  --port N            port of the admin API; 0: any (default: local.settings.json, else 7071)
  --core-tools        bodies with Content-Length, as under `func`, instead of chunked
  --time-scale F      divide the two hard-coded times (a fetched message is invisible for 10 minutes,
                      renewed after 5) by F; also HOST_STAND_IN_TIME_SCALE
  --no-timer          timers run by hand only
  --status-dir DIR    where timers keep their status (default: under the temporary directory)
  --end-with-parent   stop when the parent process is gone
  --help              this text

It reads host.json, local.settings.json (the environment wins) and every */function.json, starts the
executable, and serves queue and timer triggers. AZURE_FUNCTIONS_ENVIRONMENT=Development shortens the
default maxPollingInterval to 2 s, as there. It restarts the app when host.json is edited.

  POST /admin/functions/NAME {\"input\":\"...\"}   call by hand
  POST /admin/host/drain, GET /admin/host/drain/status, GET /admin/host/status

What it does not do, some of which it refuses at start:
  other triggers, output bindings, retry policies, dynamic concurrency, binary data, arguments and a
  working directory for the executable, connections by identity, encrypted settings, extension
  bundles, log levels and sampling, telemetry of its own, keys on the admin API, scale-out, HTTP
  functions, month and day names in schedules, time zones (UTC), following a redirect elsewhere.
  A timer's status is a file, and several stand-ins all fire (the real host: one, by a blob lease).
  A missing executable is an error at once (the real host: after 135 s). JSON that only Newtonsoft
  reads (single quotes, trailing commas) is no JSON here. A drained host cannot be resumed. Only
  host.json is watched. It ends with code 0 after three strikes and does not start itself again.
";

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    arguments.reverse();
    let result = match parse(arguments) {
        Ok(options) => run(options).await,
        Err(error) => {
            eprintln!("host-stand-in: {error:#}; see --help");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("host-stand-in: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the arguments, last one first.
fn parse(mut arguments: Vec<OsString>) -> Result<Options> {
    let mut options = Options::default();
    if let Ok(scale) = std::env::var("HOST_STAND_IN_TIME_SCALE") {
        options.time_scale = scale.parse().context("HOST_STAND_IN_TIME_SCALE")?;
    }
    while let Some(argument) = arguments.pop() {
        let name = argument.to_string_lossy().into_owned();
        let mut value = || arguments.pop().with_context(|| format!("{name} needs a value"));
        let text = |value: OsString| value.to_string_lossy().into_owned();
        match name.as_str() {
            "--root" => options.root = value()?.into(),
            "--port" => options.port = Some(text(value()?).parse().context("--port")?),
            "--time-scale" => {
                options.time_scale = text(value()?).parse().context("--time-scale")?
            }
            "--status-dir" => options.status_dir = Some(value()?.into()),
            "--core-tools" => options.core_tools = true,
            "--no-timer" => options.no_timer = true,
            "--end-with-parent" => options.end_with_parent = true,
            _ => bail!("unknown argument '{name}'"),
        }
    }
    ensure!(!options.root.as_os_str().is_empty(), "--root is missing");
    // The service knows whole seconds only: above 300 a renewal would come too late.
    ensure!((1.0..=300.0).contains(&options.time_scale), "--time-scale is not within 1-300");
    Ok(options)
}
