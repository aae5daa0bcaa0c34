//! Connections that are used again: what goes wrong with one says nothing about the URL.

use super::answers::IMPATIENT;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};
use support::{
    origin::picture,
    raw::answer,
    rig::{Rig, inline},
};

/// The path of the next request.
fn request(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut lines = reader.by_ref().lines().map_while(Result::ok);
    let first = lines.next()?;
    lines.find(String::is_empty)?;
    first.split(' ').nth(1).map(str::to_owned)
}

/// A server that answers the first request of each connection, and ends the connection so at the second.
fn ends_at_the_second(end: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let Some(path) = request(&mut reader) else { return };
                let picture = answer(200, "", &picture::jpeg(1, &path));
                if stream.write_all(&picture).is_ok() && matches!(stream.peek(&mut [0]), Ok(1)) {
                    end(stream);
                }
            });
        }
    });
    address
}

/// Case 225: a server may close a connection that it left open whenever it likes, also when the next request
/// is on its way (RFC 9112, section 9.5): it is asked again on a fresh one, and loses no picture.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_at_its_second_request_costs_no_picture() {
    let ends: [fn(TcpStream); 4] = [
        |mut stream| drop(stream.read(&mut [0; 4096])),
        // What is unread makes the kernel reset the connection.
        drop,
        |mut stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-").unwrap();
            drop(stream.read(&mut [0; 4096]));
        },
        |_stream| thread::sleep(Duration::from_secs(30)),
    ];
    let servers = ends.map(ends_at_the_second);
    let rig = Rig::new().await;
    let allowed = servers.map(|address| address.to_string()).join(",");
    let settings =
        [("PIXCRAWLER_ALLOWED_ORIGINS", &*allowed), ("PIXCRAWLER_PER_HOST_CONCURRENCY", "4")];
    let handler = rig.handler_with(&[&IMPATIENT[..5], &settings].concat()).await;
    let paths = |(n, address): (usize, &SocketAddr)| {
        let url = move |i| format!("http://{address}/{n}/{i}");
        (0..40).map(url).collect::<Vec<_>>()
    };
    let urls: Vec<String> = servers.iter().enumerate().flat_map(paths).collect();
    let (_, answer) = handler.deliver("one", &inline(1, 0, &urls)).await;
    assert!(answer["Logs"][0].as_str().unwrap().contains("completed"), "{answer}");
    let manifest = rig.manifest(1, 0).await;
    assert_eq!(manifest["images_valid"], urls.len(), "{}", manifest["errors"]);
}
