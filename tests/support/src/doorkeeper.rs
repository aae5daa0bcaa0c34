//! A door before a Postgres server: it takes no TLS, and refuses start-up parameters, as pgbouncer does
//! when it comes from its package. On every machine, where pgbouncer is not.

use reqwest::Url;
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// Asks for TLS (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
const TLS_PLEASE: u32 = 80_877_103;
/// What pgbouncer knows of start-up parameters.
const KNOWN: [&str; 6] =
    ["user", "database", "client_encoding", "application_name", "datestyle", "timezone"];

/// The door, which is open until its runtime ends.
#[derive(Debug)]
pub struct Doorkeeper {
    url: Url,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Doorkeeper {
    /// A door before the server of a database.
    pub async fn start(database_url: &str) -> Self {
        let mut url = Url::parse(database_url).expect("a URL");
        let host = url.host_str().expect("a host").to_owned();
        let server = (host, url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        url.set_host(Some("127.0.0.1")).expect("a host");
        url.set_port(Some(address.port())).expect("a port");
        let refused = Arc::default();
        let keeping = Arc::clone(&refused);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server.clone(), Arc::clone(&keeping)));
            }
        });
        Self { url, refused }
    }

    /// The database behind it.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The parameters that were refused so far.
    pub fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap().clone()
    }
}

async fn pass(
    mut client: TcpStream,
    server: (String, u16),
    refused: Arc<Mutex<Vec<String>>>,
) -> io::Result<()> {
    loop {
        let len = client.read_u32().await?;
        let mut start = vec![0; len as usize - 4];
        client.read_exact(&mut start).await?;
        if start.starts_with(&TLS_PLEASE.to_be_bytes()) {
            client.write_all(b"N").await?;
            continue;
        }
        let words: Vec<&[u8]> = start[4..].split(|byte| *byte == 0).collect();
        let names = words.chunks_exact(2).map(|pair| String::from_utf8_lossy(pair[0]).into_owned());
        let is_known = |name: &str| KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name));
        let unknown = |name: &String| !name.is_empty() && !is_known(name);
        if let Some(name) = names.into_iter().find(unknown) {
            let said =
                format!("SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: {name}\0\0");
            refused.lock().unwrap().push(name);
            client.write_u8(b'E').await?;
            client.write_u32(said.len() as u32 + 4).await?;
            return client.write_all(said.as_bytes()).await;
        }
        let mut server = TcpStream::connect(server).await?;
        server.write_u32(len).await?;
        server.write_all(&start).await?;
        return copy_bidirectional(&mut client, &mut server).await.map(drop);
    }
}
