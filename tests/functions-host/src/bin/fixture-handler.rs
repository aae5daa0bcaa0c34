//! A custom handler for checking hosts: it writes down every request as it came over the wire, and
//! answers as its environment says.
//!
//! `FIXTURE_RECORDS` names the directory for `start-PID` (what the process was given),
//! `PID-NUMBER.request` (raw head and body) and `PID-NUMBER.answered`. `FIXTURE_ANSWER` says what
//! becomes of a POST: `ok`, `empty`, `null`, `text`, `500`, `redirect`, `slow:MILLISECONDS`, `exit:CODE`, `hang`,
//! `gate` (ok once the file `gate-NUMBER` or `gate-all` is there); or what becomes of the process:
//! `start-exit:CODE`, `deaf` (it never listens). `FIXTURE_ANSWER_NAME` is the answer of one function.
//! `FIXTURE_START_MILLISECONDS` is how long it waits before it listens.

use std::fs;
use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::exit;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{sleep, spawn};
use std::time::Duration;

use nix::unistd::{getpgrp, getppid};

/// How long an orphan stays, so that a test can see it.
const ORPHAN_LIFE: Duration = Duration::from_secs(10);
const GATE_PERIOD: Duration = Duration::from_millis(20);

static COUNT: AtomicU32 = AtomicU32::new(0);

fn main() -> Result<()> {
    record(&format!("start-{}", std::process::id()), start_record().as_bytes())?;
    if let Some(code) = answer().strip_prefix("start-exit:") {
        eprintln!("the fixture ends at once");
        exit(code.parse().unwrap_or(1));
    }
    spawn(end_some_time_after_the_parent);
    if answer() == "deaf" {
        sleep(Duration::MAX);
    }
    sleep(Duration::from_millis(variable("FIXTURE_START_MILLISECONDS").parse().unwrap_or(0)));
    let port = variable("FUNCTIONS_CUSTOMHANDLER_PORT").parse().unwrap_or(0);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("the fixture listens");
    eprintln!("a Warning of the fixture");
    eprintln!("a complaint of the fixture");
    for stream in listener.incoming() {
        let stream = stream?;
        spawn(move || serve(&stream));
    }
    Ok(())
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn answer() -> String {
    variable("FIXTURE_ANSWER")
}

/// The answer to a POST; none for another request.
fn answer_to(request: &[u8]) -> Option<String> {
    let path = request.strip_prefix(b"POST /")?;
    let name = path.split(|byte| *byte == b' ').next().unwrap_or_default();
    let own = std::env::var(format!("FIXTURE_ANSWER_{}", String::from_utf8_lossy(name)));
    Some(own.unwrap_or_else(|_| answer()))
}

fn directory() -> PathBuf {
    variable("FIXTURE_RECORDS").into()
}

/// Appears whole or not at all.
fn record(name: &str, content: &[u8]) -> Result<()> {
    let unfinished = directory().join(format!("{name}.new"));
    fs::write(&unfinished, content)?;
    fs::rename(unfinished, directory().join(name))
}

fn start_record() -> String {
    let mut lines: Vec<String> = std::env::vars()
        .filter(|(name, _)| name.starts_with("FUNCTIONS_") || name.starts_with("FIXTURE_"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    lines.push(format!("argv={:?}", std::env::args().collect::<Vec<_>>()));
    lines.push(format!("cwd={}", std::env::current_dir().unwrap_or_default().display()));
    lines.push(format!("ppid={} pgrp={}", getppid(), getpgrp()));
    lines.join("\n")
}

fn end_some_time_after_the_parent() {
    let parent = getppid();
    while getppid() == parent {
        sleep(Duration::from_secs(1));
    }
    sleep(ORPHAN_LIFE);
    exit(0);
}

/// Serves one connection for as long as it lasts; its errors are its end.
fn serve(stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = read_request(&mut reader) {
        let number = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
        let name = format!("{}-{number:06}", std::process::id());
        let answered = record(&format!("{name}.request"), &request)
            .and_then(|()| respond(stream, answer_to(&request), number))
            .and_then(|()| record(&format!("{name}.answered"), b""));
        if answered.is_err() {
            return;
        }
    }
}

/// The bytes of one request, chunk sizes and all; none at the end of the connection.
fn read_request(reader: &mut BufReader<&TcpStream>) -> Result<Option<Vec<u8>>> {
    let mut request = Vec::new();
    let (mut length, mut chunked) = (0, false);
    loop {
        let line = read_line(reader, &mut request)?;
        let line = line.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        chunked |= line.starts_with("transfer-encoding:");
    }
    if request.is_empty() {
        return Ok(None);
    }
    reader.take(length).read_to_end(&mut request)?;
    while chunked {
        let size = u64::from_str_radix(&read_line(reader, &mut request)?, 16).unwrap_or(0);
        reader.take(size + 2).read_to_end(&mut request)?;
        chunked = size > 0;
    }
    Ok(Some(request))
}

fn read_line(reader: &mut BufReader<&TcpStream>, request: &mut Vec<u8>) -> Result<String> {
    let from = request.len();
    reader.read_until(b'\n', request)?;
    Ok(String::from_utf8_lossy(&request[from..]).trim_end().to_owned())
}

fn respond(mut stream: &TcpStream, answer: Option<String>, number: u32) -> Result<()> {
    let answer = answer.unwrap_or_else(|| "ok".into());
    let (kind, value) = answer.split_once(':').unwrap_or((&answer, "0"));
    let value: u64 = value.parse().unwrap_or(0);
    let (status, content_type, body) = match kind {
        "empty" => ("200 OK", "application/json", ""),
        "null" => ("200 OK", "application/json", "null"),
        "text" => ("200 OK", "text/plain", "done"),
        "500" => ("500 Internal Server Error", "application/json", "{}"),
        // Followed by a GET, which is answered with success.
        "redirect" => ("302 Found\r\nLocation: /elsewhere", "application/json", ""),
        "exit" => exit(value as i32),
        _ => (
            "200 OK",
            "application/json",
            r#"{"Outputs":{},"Logs":["the fixture did it"],"ReturnValue":null}"#,
        ),
    };
    let open = |name: String| directory().join(name).exists();
    match kind {
        "slow" => sleep(Duration::from_millis(value)),
        "hang" => sleep(Duration::MAX),
        "gate" => {
            while !open(format!("gate-{number}")) && !open("gate-all".into()) {
                sleep(GATE_PERIOD);
            }
        }
        _ => {}
    }
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes())
}
