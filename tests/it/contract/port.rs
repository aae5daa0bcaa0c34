//! The handler's port, for whoever else can reach it: a page in a browser whose name leads to loopback,
//! a process that opens connections and says nothing.

use std::{fs, path::PathBuf, time::Duration};
use support::{
    checkout::root,
    rig::{Handler, Rig},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

async fn connect(handler: &Handler) -> TcpStream {
    TcpStream::connect(("127.0.0.1", handler.port)).await.unwrap()
}

/// Sends a request on a connection of its own; the status of the answer.
async fn ask(handler: &Handler, request: &[u8]) -> u16 {
    let mut stream = connect(handler).await;
    stream.write_all(request).await.unwrap();
    status(&mut stream).await
}

/// The status of the next answer, whose end is not waited for; 0: the connection ended without one.
async fn status(stream: &mut TcpStream) -> u16 {
    let mut seen = Vec::new();
    let read = async {
        while !seen.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => seen.push(byte),
                Err(_) => break,
            }
        }
    };
    timeout(Duration::from_secs(60), read).await.expect("an answer or an end");
    String::from_utf8_lossy(&seen).split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Case 282: a request is for loopback, by its `Host` and its target, or nothing of it is done.
#[tokio::test(flavor = "multi_thread")]
async fn requests_for_other_hosts_are_refused() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let port = handler.port;
    for host in [
        format!("Host: 127.0.0.1:{port}\r\n"),
        format!("host:localhost:{port}\r\n"),
        "Host: [::1]\r\n".into(),
        "HOST:  LOCALHOST \r\n".into(),
    ] {
        let get = format!("GET / HTTP/1.1\r\n{host}\r\n");
        assert_eq!(ask(&handler, get.as_bytes()).await, 200, "{host}");
    }
    let headers = "Content-Type: application/json\r\nContent-Length: 27";
    let other = [
        ("/", format!("Host: rebound.example:{port}\r\n")),
        ("/", "Host: 127.0.0.1.rebound.example\r\n".into()),
        ("/", "Host: \u{fc}\r\n".into()),
        ("/", "Host:\r\n".into()),
        ("/", String::new()),
        ("/", "Host: localhost\r\nHost: rebound.example\r\n".into()),
        ("http://rebound.example/", "Host: localhost\r\n".into()),
        ("http://localhost/", "Host: rebound.example\r\n".into()),
    ];
    for (target, host) in other {
        for path in ["", "process_chunk", "control", "health_check", "nothing"] {
            let head = format!("POST {target}{path} HTTP/1.1\r\n{host}{headers}\r\n\r\n");
            let post = [head.as_bytes(), br#"{"Data":{"message":"none"}}"#].concat();
            assert_eq!(ask(&handler, &post).await, 421, "{path} {host}");
        }
        let get = format!("GET {target} HTTP/1.1\r\n{host}\r\n");
        assert_eq!(ask(&handler, get.as_bytes()).await, 421, "{target} {host}");
    }
    assert_eq!(ask(&handler, b"GET / HTTP/1.0\r\n\r\n").await, 421);
    let nothing = "select (select count(*) from chunk_handler.rejected_message)
        + (select count(*) from chunk_handler.health)";
    assert_eq!(rig.value::<i64>(nothing).await, 0);
    let (status, _) =
        handler.post("/control", "ours", r#"{"Data":{"message":"none"}}"#.into()).await;
    assert_eq!(status, 200, "the same from the host is recorded");
    assert_eq!(rig.value::<i64>(nothing).await, 1);
}

/// Case 285: who does not come to the end of a head or of a body is not waited for; the host, whose
/// connection rests between two invocations, is.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_end_are_given_up() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let host = format!("Host: 127.0.0.1:{}\r\n", handler.port);
    let probe = format!("GET / HTTP/1.1\r\n{host}\r\n");
    let head = format!("POST /process_chunk HTTP/1.1\r\n{host}Content-Type: application/json\r\n");
    let mut resting = connect(&handler).await;
    resting.write_all(probe.as_bytes()).await.unwrap();
    assert_eq!(status(&mut resting).await, 200);
    let mut rest = vec![0; 1000];
    assert!(resting.read(&mut rest).await.unwrap() > 0, "the body of the answer");

    let silent = drip(&handler, "", "");
    let short = drip(&handler, "POST /process_chunk HTTP/1.1\r\nHo", "");
    let dripping = drip(&handler, &head, "x");
    let with_length = format!("{head}Content-Length: 1000\r\n\r\n");
    let body = drip(&handler, &with_length, " ");
    let in_chunks = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let chunked = drip(&handler, &in_chunks, "1\r\n \r\n");
    let ends = tokio::join!(silent, short, dripping, body, chunked);
    assert_eq!(ends, (0, 0, 0, 408, 408));

    resting.write_all(probe.as_bytes()).await.unwrap();
    assert_eq!(status(&mut resting).await, 200, "the host's connection is still there");
}

/// Sends the start of a request, then more of it every now and then; what is answered.
async fn drip(handler: &Handler, start: &str, more: &str) -> u16 {
    let (mut reads, mut writes) = connect(handler).await.into_split();
    writes.write_all(start.as_bytes()).await.unwrap();
    let dripping = async {
        while writes.write_all(more.as_bytes()).await.is_ok() {
            sleep(Duration::from_millis(300)).await;
        }
        std::future::pending::<()>().await;
    };
    let answered = async {
        let mut seen = [0; 12];
        let n = reads.read(&mut seen).await.unwrap_or(0);
        String::from_utf8_lossy(&seen[..n]).split(' ').nth(1).and_then(|n| n.parse().ok())
    };
    let ended = async {
        tokio::select! {
            answer = answered => answer.unwrap_or(0),
            () = dripping => 0,
        }
    };
    timeout(Duration::from_secs(60), ended).await.expect("it is given up")
}

/// Heads and bodies as the real host was seen to send them, all of them taken.
#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_request_is_taken() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let heads = ["", "v5"].map(|version| root().join("tests/fixtures/vectors").join(version));
    let files = heads.iter().flat_map(|directory| fs::read_dir(directory).unwrap());
    let files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    let mut n = 0;
    for file in files.iter().filter(|file| file.to_string_lossy().ends_with(".headers.txt")) {
        let text = fs::read_to_string(file).unwrap();
        let body = file.to_string_lossy().replace(".headers.txt", ".json");
        let body = fs::read(body).unwrap_or_else(|_| br#"{"Data":{"message":""}}"#.to_vec());
        let lines = text.lines().take_while(|line| !line.starts_with('#') && !line.is_empty());
        let head: String = lines.map(|line| format!("{line}\r\n")).collect();
        // The functions of the recording have names of their own.
        let (method, rest) = head.split_once(' ').unwrap();
        let (path, rest) = rest.split_once(' ').unwrap();
        let path = if path == "/" { path } else { "/process_chunk" };
        let head = format!("{method} {path} {rest}");
        let body = match (method, head.contains("chunked")) {
            ("GET", _) => Vec::new(),
            (_, true) => {
                [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat()
            }
            (_, false) => body,
        };
        let request = [head.as_bytes(), b"\r\n", &body].concat();
        assert_eq!(ask(&handler, &request).await, 200, "{}", file.display());
        n += 1;
    }
    assert!(n > 30, "{n} requests were recorded");
}
