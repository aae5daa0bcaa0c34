//! Processes of this very program that play a part: origin, sink and the least fetchers. Each ends
//! when the bench that started it does, whatever ended that.

use crate::{floor, names, origin, sink};
use anyhow::{Context as _, Result};
use nix::{time::ClockId, unistd::Pid};
use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    time::Duration,
};

/// The first argument of such a process.
pub const FLAG: &str = "--part";

/// What a part's process does.
pub fn main(arguments: &[String]) -> ExitCode {
    let rate = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    let addresses = match arguments.first().map(String::as_str) {
        Some("origin") => origin::start().unwrap(),
        Some("sink") => sink::start(rate).unwrap().to_vec(),
        Some("floor") => return floor::main(),
        Some("names") => return names::main(arguments),
        _ => return ExitCode::from(2),
    };
    let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    println!("{}", words.join(" "));
    // It lasts as long as whoever holds the other end.
    io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
    ExitCode::SUCCESS
}

/// A part's process, killed when this is dropped.
#[derive(Debug)]
pub struct Part {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Part {
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(FLAG).args(arguments).env("SSL_CERT_FILE", origin::certificate("ca.pem"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting a part")?;
        let input = child.stdin.take().context("stdin")?;
        let output = BufReader::new(child.stdout.take().context("stdout")?);
        Ok(Self { child, input, output })
    }

    /// The addresses that a server says it listens on.
    pub fn addresses(&mut self) -> Result<Vec<SocketAddr>> {
        let line = self.line()?;
        line.split(' ').map(|word| Ok(word.trim().parse()?)).collect()
    }

    /// Sends a line and waits for the answer.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.input, "{line}")?;
        self.line()
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        anyhow::ensure!(line.ends_with('\n'), "a part ended");
        Ok(line.trim_end().to_owned())
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It has ended already if these fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of a whole process since its start, to the nanosecond.
pub fn cpu_time(pid: i32) -> Result<Duration> {
    Ok(ClockId::pid_cpu_clock_id(Pid::from_raw(pid))?.now()?.into())
}

/// How much of it was spent in the program and in the kernel, in hundredths of a second.
pub fn cpu_split(pid: i32) -> Result<[f64; 2]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("the name ends with a bracket")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|text| text.parse().ok()).unwrap_or(0.0) / 100.0;
    Ok([ticks(), ticks()])
}

/// A figure of `/proc/PID/status`, in bytes: `VmRSS`, `VmHWM`.
pub fn memory(pid: i32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kilobytes = line.and_then(|text| text.split_whitespace().next()).context("no figure")?;
    Ok(kilobytes.parse::<u64>()? * 1024)
}
