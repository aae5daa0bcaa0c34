//! A job without network fails loudly, and runs when the network is back.

use functions_host::rigged;
use std::net::SocketAddr;
use support::{
    invariants,
    rig::{DATASETS, Rig},
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const CHUNKS: usize = 3;
/// Of each chunk: more than the failures after which a chunk gives an address up.
const PICTURES: usize = 12;

/// A port that is ours and refuses every connection until it listens.
fn closed_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// The network is back: whoever connects reaches the rig's origin.
async fn serve(listener: TcpListener, origin: SocketAddr) {
    while let Ok((mut client, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut server = TcpStream::connect(origin).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

/// I1 I8: nothing answers: every chunk fails with `nothing_reachable` and leaves no shard, the
/// job shows failed, `chunkctl status` says what to do, and that completes the job once the network is
/// back.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_network_fails_and_a_retry_completes_it() {
    let rig = Rig::new().await;
    let (socket, address) = closed_port();
    let picture = |n: usize| format!("http://{address}/img/{n}");
    let urls: Vec<String> = (0..CHUNKS * PICTURES).map(picture).collect();
    rig.submit(1, &urls, PICTURES);
    let allowed = [("PIXCRAWLER_ALLOWED_ORIGINS", &*address.to_string())];
    let mut host = rigged::host(&rig, &allowed).await;
    rig.until("select status = 'failed' from chunk_handler.job_progress").await;
    let failed = "select bool_and(status = 'failed' and error_code = 'nothing_reachable'
        and attempt = 1 and shard_blob is null) and count(*) = 3 from chunk_handler.chunk_status";
    assert!(rig.value::<bool>(failed).await);
    let blobs = rig.blobs.list(DATASETS, "job_1/").await.unwrap();
    let documents = ["README.md", "chunks/sizes.json", "dataset.json", "stats.json"];
    assert_eq!(blobs, documents.map(|name| format!("job_1/{name}")), "no shard and no manifest");
    let status = rig.chunkctl(&["status", "--job-id", "1"]);
    println!("{}", status.stdout);
    for part in
        ["job 1: failed", "nothing_reachable", "check the network", "chunkctl control retry"]
    {
        assert!(status.stdout.contains(part), "{part} is missing: {status:?}");
    }
    assert_eq!(rig.chunkctl(&["status", "--job-id", "1", "--watch"]).code, Some(1));

    let service = tokio::spawn(serve(socket.listen(64).unwrap(), rig.origin.address()));
    assert_eq!(rig.chunkctl(&["control", "retry", "--job-id", "1"]).code, Some(0));
    rig.until("select status = 'completed' from chunk_handler.job_progress").await;
    host.stop().await.unwrap();
    service.abort();
    let valid = rig.value::<i64>("select images_valid from chunk_handler.job_progress").await;
    assert_eq!(valid, (CHUNKS * PICTURES) as i64);
    let outcomes = "select string_agg(outcome, ' ' order by fence) from chunk_handler.attempt_log";
    println!("{}", rig.value::<String>(outcomes).await);
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new());
}
