//! Many hosts, each an address of loopback of its own, that serve pictures and keep connections open.

use crate::origin::picture;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::mpsc,
    thread,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// The hosts; they serve until the program ends.
#[derive(Debug)]
pub struct Crowd {
    pub addresses: Vec<SocketAddr>,
}

impl Crowd {
    /// So many hosts that answer after `delay`. Each takes a descriptor, and one for each connection.
    pub fn start(n_hosts: usize, delay: Duration) -> Self {
        let (said, heard) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                // One port for all: of 700 random ones every fortieth crowd has that of the handler
                // itself, which is refused on any address.
                let mut port = 0;
                let mut addresses = Vec::new();
                for n in 0..n_hosts {
                    let ip = Ipv4Addr::new(127, 20, (n / 250) as u8, (n % 250 + 1) as u8);
                    let listener = TcpListener::bind((ip, port)).await.expect("an address");
                    let address = listener.local_addr().expect("its address");
                    port = address.port();
                    addresses.push(address);
                    tokio::spawn(accept(listener, delay));
                }
                said.send(addresses).expect("somebody waits");
                std::future::pending::<()>().await;
            });
        });
        Self { addresses: heard.recv().expect("hosts") }
    }

    /// A URL of picture number `n`, of the host whose turn it is.
    pub fn url(&self, n: u64) -> String {
        let host = usize::try_from(n).expect("a number") % self.addresses.len();
        format!("http://{}/{n}", self.addresses[host])
    }
}

async fn accept(listener: TcpListener, delay: Duration) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, delay))),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(mut stream: TcpStream, delay: Duration) -> io::Result<()> {
    let mut head = Vec::new();
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let text = String::from_utf8_lossy(&head);
        let path = text.split(' ').nth(1).unwrap_or_default();
        let n = path.trim_start_matches('/').parse().unwrap_or(0);
        let body = picture::jpeg(n, path);
        sleep(delay).await;
        stream.write_all(&crate::raw::answer(200, "", &body)).await?;
        head.clear();
    }
}
