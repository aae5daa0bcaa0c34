//! The least a program must do for the same bytes, to compare with. A process of its own, which
//! shares no code with the product: no state, no telemetry, no limits, no checks beyond a header.
//!
//! It reads orders from stdin, one JSON object a line, and answers each with the bytes it fetched.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use reqwest::Client;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    io::{self, BufRead as _},
    process::ExitCode,
};
use tokio::task::JoinHandle;

/// The handler downloads as many at once from one host.
const CONCURRENCY: usize = 8;
const BLOCK_BYTES: usize = 4 * 1024 * 1024;

/// What to fetch, and the blob to write; none: what is fetched is thrown away.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    pub urls: Vec<String>,
    pub blob: Option<String>,
}

pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = Client::builder().no_proxy().http1_only().build().unwrap();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let order: Order = serde_json::from_str(&line).unwrap();
        let bytes = runtime.block_on(async {
            match &order.blob {
                Some(blob) => write_shard(&client, &order.urls, blob).await,
                None => discard(&client, &order.urls).await,
            }
        });
        println!("{}", bytes.unwrap());
    }
    ExitCode::SUCCESS
}

async fn discard(client: &Client, urls: &[String]) -> Result<usize> {
    let fetch = async |url: &String| -> Result<usize> {
        let mut response = client.get(url).send().await?.error_for_status()?;
        let mut n = 0;
        while let Some(frame) = response.chunk().await? {
            n += frame.len();
        }
        Ok(n)
    };
    let mut lengths = stream::iter(urls).map(fetch).buffer_unordered(CONCURRENCY);
    let mut total = 0;
    while let Some(n) = lengths.next().await {
        total += n?;
    }
    Ok(total)
}

async fn write_shard(client: &Client, urls: &[String], blob: &str) -> Result<usize> {
    let fetch = async |(n, url): (usize, &String)| -> Result<(usize, Bytes)> {
        Ok((n, client.get(url).send().await?.error_for_status()?.bytes().await?))
    };
    let mut bodies = stream::iter(urls.iter().enumerate()).map(fetch).buffer_unordered(CONCURRENCY);
    let mut shard = Shard::new(client, blob);
    let mut total = 0;
    while let Some(body) = bodies.next().await {
        let (n, body) = body?;
        total += body.len();
        let (width, height) = dimensions(&body).context("no JPEG")?;
        let sha256 = Sha256::digest(&body);
        shard.member(&format!("00000_{n:05}.jpg"), &body).await?;
        let sidecar = serde_json::json!({
            "url": urls[n], "width": width, "height": height, "sha256": format!("{sha256:x?}"),
        });
        shard.member(&format!("00000_{n:05}.json"), sidecar.to_string().as_bytes()).await?;
    }
    shard.finish().await?;
    Ok(total)
}

/// Width and height, from the frame header.
fn dimensions(jpeg: &[u8]) -> Option<(u16, u16)> {
    let word = |at: usize| Some(u16::from_be_bytes([*jpeg.get(at)?, *jpeg.get(at + 1)?]));
    let mut at = 2;
    loop {
        match word(at)? {
            0xFFC0..=0xFFC2 => return Some((word(at + 7)?, word(at + 5)?)),
            0xFFC4..=0xFFFE => at += 2 + usize::from(word(at + 2)?),
            _ => return None,
        }
    }
}

/// A tar that leaves in blocks, one of them under way at a time.
struct Shard<'a> {
    client: &'a Client,
    blob: &'a str,
    block: Vec<u8>,
    ids: Vec<String>,
    under_way: Option<JoinHandle<Result<()>>>,
}

impl<'a> Shard<'a> {
    fn new(client: &'a Client, blob: &'a str) -> Self {
        let block = Vec::with_capacity(BLOCK_BYTES);
        Self { client, blob, block, ids: Vec::new(), under_way: None }
    }

    async fn member(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        self.write(header.as_bytes()).await?;
        self.write(content).await?;
        self.write(&[0; 512][..content.len().next_multiple_of(512) - content.len()]).await
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK_BYTES {
                self.stage().await?;
            }
        }
        Ok(())
    }

    async fn stage(&mut self) -> Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK_BYTES));
        let id = format!("{:024}", self.ids.len());
        let put = self.client.put(format!("{}?comp=block&blockid={id}", self.blob)).body(block);
        self.ids.push(id);
        self.settle().await?;
        self.under_way = Some(tokio::spawn(async move {
            ensure!(put.send().await?.status().is_success(), "a block was refused");
            Ok(())
        }));
        Ok(())
    }

    async fn settle(&mut self) -> Result<()> {
        match self.under_way.take() {
            Some(put) => put.await?,
            None => Ok(()),
        }
    }

    async fn finish(mut self) -> Result<()> {
        self.write(&[0; 1024]).await?;
        self.stage().await?;
        self.settle().await?;
        let list: String = self.ids.iter().map(|id| format!("<Latest>{id}</Latest>")).collect();
        let list = format!("<?xml version=\"1.0\"?><BlockList>{list}</BlockList>");
        let commit = self.client.put(format!("{}?comp=blocklist", self.blob)).body(list);
        ensure!(commit.send().await?.status().is_success(), "the list was refused");
        Ok(())
    }
}
