use super::*;
use http_body_util::BodyExt as _;
use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// A server that says `ok` to everything, on connections that it leaves open or not.
struct Server {
    url: Url,
    connections: Arc<AtomicU64>,
    heads: Arc<Mutex<Vec<String>>>,
}

async fn server(stays_open: bool) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a?b#c", listener.local_addr().unwrap()).parse().unwrap();
    let server = Server { url, connections: Arc::default(), heads: Arc::default() };
    let (connections, heads) = (Arc::clone(&server.connections), Arc::clone(&server.heads));
    TokioExecutor::new().execute(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            let heads = Arc::clone(&heads);
            TokioExecutor::new().execute(async move {
                let mut head = Vec::new();
                while stream.read_buf(&mut head).await.is_ok_and(|n| n > 0) {
                    if head.ends_with(b"\r\n\r\n") {
                        heads.lock().unwrap().push(String::from_utf8(head.clone()).unwrap());
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                        stream.write_all(answer).await.unwrap();
                        head.clear();
                        if !stays_open {
                            return;
                        }
                    }
                }
            });
        }
    });
    server
}

fn client(connections: usize) -> Client {
    Client::new("test", Duration::from_secs(5), connections).unwrap()
}

async fn get(client: &Client, seat: &Seat, url: &Url) -> Result<Response, Error> {
    let look_up = async |_: &str| Err::<Arc<[IpAddr]>, ()>(());
    let place = client.place(url, seat, true, look_up);
    let place = timeout(Duration::from_secs(20), place).await.expect("a place").unwrap();
    client.get(url, place).await
}

async fn text(client: &Client, seat: &Seat, url: &Url) -> Bytes {
    loop {
        match get(client, seat, url).await {
            Ok(answer) => return answer.into_body().collect().await.unwrap().to_bytes(),
            Err(error) => assert!(matches!(error, Error::Stale), "{error:?}"),
        }
    }
}

/// A connection serves one request after another; what is sent is as HTTP wants it.
#[tokio::test]
async fn a_connection_is_used_again() {
    let (client, server) = (client(4), server(true).await);
    let seat = client.seat();
    for _ in 0..3 {
        assert_eq!(text(&client, &seat, &server.url).await, "ok");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let head = server.heads.lock().unwrap().pop().unwrap();
    assert!(head.starts_with("GET /a?b HTTP/1.1\r\n"), "{head}");
    let host = format!(
        "\r\nhost: {}\r\n",
        &server.url[url::Position::BeforeHost..url::Position::AfterPort]
    );
    assert!(head.contains(&host), "{head}");
}

/// Case 250: with room for two, five hosts are asked one after the other and side by side: what is idle
/// gives way, and who waits gets the next one that is free.
#[tokio::test]
async fn an_idle_connection_gives_way() {
    let client = client(2);
    let seat = client.seat();
    let mut servers = Vec::new();
    for _ in 0..5 {
        servers.push(server(true).await);
    }
    for server in servers.iter().chain(&servers) {
        assert_eq!(text(&client, &seat, &server.url).await, "ok");
    }
    let held =
        [get(&client, &seat, &servers[0].url).await, get(&client, &seat, &servers[1].url).await];
    let waiting = async { text(&client, &seat, &servers[2].url).await };
    let mut waiting = std::pin::pin!(waiting);
    assert!(timeout(Duration::from_millis(200), &mut waiting).await.is_err(), "both are in use");
    drop(held);
    assert_eq!(waiting.await, "ok");
    let side_by_side = servers.iter().map(|server| text(&client, &seat, &server.url));
    let all = futures_util::future::join_all(side_by_side).await;
    assert!(all.iter().all(|text| text == "ok"));
}

/// A connection that its server closed while it was idle costs no request.
#[tokio::test]
async fn a_connection_that_was_closed_is_not_asked() {
    let (client, server) = (client(4), server(false).await);
    let seat = client.seat();
    for _ in 0..20 {
        assert_eq!(text(&client, &seat, &server.url).await, "ok");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.heads.lock().unwrap().len(), 20);
}

/// However often the last idle connection is used, one task watches those that are idle.
#[tokio::test]
async fn one_task_watches_idle_connections() {
    let (client, server) = (client(4), server(true).await);
    let seat = client.seat();
    let alive_after_one = async || {
        assert_eq!(text(&client, &seat, &server.url).await, "ok");
        // A task that finds nothing idle when it begins ends at once.
        tokio::time::sleep(Duration::from_millis(10)).await;
        tokio::runtime::Handle::current().metrics().num_alive_tasks()
    };
    let before = alive_after_one().await;
    for _ in 0..20 {
        assert_eq!(alive_after_one().await, before);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

/// A connection counts for the chunk that uses it, whoever opened it.
#[tokio::test]
async fn a_connection_counts_for_who_uses_it() {
    let (client, server) = (client(4), server(true).await);
    let (first, second) = (client.seat(), client.seat());
    assert_eq!(text(&client, &first, &server.url).await, "ok");
    assert_eq!((first.held(), second.held()), (1, 0));
    let answer = get(&client, &second, &server.url).await.unwrap();
    assert_eq!((first.held(), second.held()), (0, 1));
    drop(answer);
}

/// Where both kinds of addresses may be tried at once, two sockets are paid for, but only while there is
/// room that nobody waits for.
#[tokio::test]
async fn two_kinds_of_addresses_take_two_turns_if_there_are_two() {
    let url = "http://pictures.test/".parse().unwrap();
    let ips: [IpAddr; 2] = ["2001:db8::1", "192.0.2.1"].map(|ip| ip.parse().unwrap());
    for (connections, n_ips, held) in [(2, 2, 2), (2, 1, 1), (1, 2, 1)] {
        let client = client(connections);
        let seat = client.seat();
        let look_up = async |_: &str| Ok::<Arc<[IpAddr]>, ()>(ips[..n_ips].into());
        let place = client.place(&url, &seat, true, look_up).await.unwrap();
        assert_eq!(seat.held(), held, "{connections} {n_ips}");
        drop(place);
        assert_eq!(seat.held(), 0);
    }
}

/// An idle connection that never takes a request is given up for a new one.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_never_ready_is_given_up() {
    let client = client(4);
    let seat = client.seat();
    let url: Url = "http://192.0.2.1/".parse().unwrap();
    let (ours, _theirs) = tokio::io::duplex(64);
    // Nobody works on it.
    let (sender, _work) = http1::handshake(hyper_util::rt::TokioIo::new(ours)).await.unwrap();
    let turn = Arc::new(seat.turn().await);
    client.idle.put(key(&url), Connection { sender, turn });
    let look_up = async |_: &str| Err::<Arc<[IpAddr]>, ()>(());
    let place = timeout(Duration::from_secs(60), client.place(&url, &seat, true, look_up)).await;
    assert!(matches!(place, Ok(Ok(Place::New(_)))));
    assert_eq!(seat.held(), 1);
}

/// Case 250: of many idle connections only so many stay.
#[tokio::test]
async fn idle_connections_are_few_in_all() {
    let (client, server) = (client(1000), server(true).await);
    let seat = client.seat();
    let many = (0..300).map(|_| get(&client, &seat, &server.url));
    let answers = futures_util::future::join_all(many).await;
    let bodies = answers.into_iter().map(|answer| answer.unwrap().into_body().collect());
    assert!(futures_util::future::join_all(bodies).await.iter().all(Result::is_ok));
    assert_eq!(server.connections.load(Ordering::SeqCst), 300);
    assert_eq!(client.idle.len(), 256);
}
