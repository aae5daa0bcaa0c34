//! A proxy in front of blob storage that holds one kind of request back until it is told.

use crate::rig::{Rig, wait_for};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// Requests to put what has the needle in its URL wait here; everything else passes.
pub struct Gate {
    /// The connection string of whoever shall meet the gate.
    pub storage: String,
    was_met: Arc<AtomicBool>,
    is_open: watch::Sender<bool>,
}

impl Gate {
    pub async fn new(rig: &Rig, needle: &'static str) -> Self {
        let endpoint = rig.storage.split_once("BlobEndpoint=http://").unwrap().1;
        let real = endpoint.split_once('/').unwrap().0.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let blobs = |host: &str| format!("BlobEndpoint=http://{host}/");
        let storage = rig.storage.replace(&blobs(&real), &blobs(&here.to_string()));
        let (is_open, opened) = watch::channel(false);
        let was_met = Arc::new(AtomicBool::new(false));
        let met = Arc::clone(&was_met);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&real).await.unwrap();
                let (from_client, mut to_client) = client.into_split();
                let (mut from_server, to_server) = server.into_split();
                let (opened, met) = (opened.clone(), Arc::clone(&met));
                tokio::spawn(pass(from_client, to_server, needle, opened, met));
                tokio::spawn(
                    async move { tokio::io::copy(&mut from_server, &mut to_client).await },
                );
            }
        });
        Self { storage, was_met, is_open }
    }

    /// Waits until a request is held here.
    pub async fn met(&self) {
        wait_for("a request meets the gate", async || self.was_met.load(Ordering::SeqCst)).await;
    }

    /// Lets everything pass, what is held too, whatever became of its sender.
    pub fn open(&self) {
        self.is_open.send_replace(true);
    }
}

/// A request's head comes in one piece: the client writes it at once.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    needle: &str,
    mut opened: watch::Receiver<bool>,
    met: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 65_536];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let head = buffer[..n].split(|byte| *byte == b'\r').next().unwrap_or_default();
        let head = String::from_utf8_lossy(head);
        if head.starts_with("PUT ") && head.contains(needle) && !*opened.borrow() {
            met.store(true, Ordering::SeqCst);
            let _ = opened.wait_for(|is_open| *is_open).await;
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
