//! A listener that nobody may connect to.

use std::{
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// A listener on an allowed port of loopback that hears whether the address guard holds.
pub struct Canary {
    pub port: u16,
    heard: Arc<AtomicU64>,
}

/// The canary of this process.
pub fn canary() -> &'static Canary {
    static CANARY: LazyLock<Canary> = LazyLock::new(Canary::listen);
    &CANARY
}

impl Canary {
    fn listen() -> Self {
        // The guard's own list: any other port would be refused for being one.
        let (port, listener) = [8080, 8443, 443, 80]
            .into_iter()
            .find_map(|port| Some((port, TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?)))
            .expect("one of the ports that URLs may have is free on loopback");
        let heard = Arc::new(AtomicU64::new(0));
        let listeners = [Some(listener), TcpListener::bind((Ipv6Addr::LOCALHOST, port)).ok()];
        for listener in listeners.into_iter().flatten() {
            let heard = Arc::clone(&heard);
            thread::spawn(move || {
                for _ in listener.incoming() {
                    heard.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let canary = Self { port, heard };
        // It hears what comes: without this its silence would mean nothing.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
        while canary.heard.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        canary
    }

    pub fn assert_silent(&self) {
        assert_eq!(self.heard.load(Ordering::SeqCst), 1, "a forbidden address was connected to");
    }
}
