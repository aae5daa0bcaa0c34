//! Storage that answers as a test wants.

use super::Storage;
use crate::settings::{Program, Settings};
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

/// Settings of a process with both blocklists, and its storage, each request of which gets the answer to its
/// head; none: the connection ends. It ends with the test program.
pub(crate) fn serve(
    answer: impl Fn(&str) -> Option<String> + Send + 'static,
) -> (Settings, Storage) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/account", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer = answer(&head(&mut stream)).unwrap_or_default();
            // Who has read enough may be gone.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    let storage = format!(
        "DefaultEndpointsProtocol=http;AccountName=account;AccountKey=a2V5;\
         BlobEndpoint={endpoint};QueueEndpoint={endpoint};"
    );
    let environment = [
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
        ("ChunkStorage", &storage),
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "4000"),
        ("PIXCRAWLER_BLOCKED_HOSTS", "hosts.txt"),
        ("PIXCRAWLER_BLOCKED_HASHES", "sums.txt"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = environment.into_iter().collect();
    let settings = Settings::parse(Program::Handler, environment, Default::default()).unwrap();
    let storage = Storage::open(&settings).unwrap();
    (settings, storage)
}

fn head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}
