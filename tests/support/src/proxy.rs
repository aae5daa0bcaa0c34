//! A TCP proxy before Postgres, blob or queue: it counts calls and decides what becomes of each.
//!
//! A call is one HTTP request with its response, or what a Postgres client sends up to a Sync or a
//! simple query, with the answer up to "ready for query". Startup and authentication are not calls.
//! Several proxies share one [`Calls`], so that all calls of a program have one order.

#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use wire::Wire;
use wire::{Request, Side};

/// One call, as it was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its place in the order of all calls since [`Calls::restart`], from 1.
    pub number: usize,
    /// Which proxy counted it.
    pub proxy: &'static str,
    /// `run claim`, `PUT chunk_00000.tar comp=block`: without identifiers or signatures.
    pub what: String,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is forwarded, and so is its reply.
    Pass,
    /// It is not forwarded until it is released; never when its client goes away before.
    HoldBefore,
    /// It is forwarded; its reply waits until it is released.
    HoldAfter,
    /// Both sides are closed instead of forwarding it.
    Cut,
    /// It takes effect, then the client's side is closed instead of a reply.
    DropReply,
    /// It is forwarded after this long.
    Delay(Duration),
    /// It is not forwarded: an HTTP call is answered 503 with Retry-After, any other is cut.
    Busy,
    /// It is not forwarded: an HTTP call is answered this, any other is cut.
    Answer(Answer),
}

/// What a proxy says in the place of a storage service: status line and error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub status: &'static str,
    pub code: &'static str,
}

/// What a storage service says that has too much to do.
const BUSY: Answer = Answer { status: "503 Server Busy\r\nRetry-After: 1", code: "ServerBusy" };

impl Answer {
    fn bytes(self) -> Vec<u8> {
        let Self { status, code } = self;
        format!("HTTP/1.1 {status}\r\nx-ms-error-code: {code}\r\nContent-Length: 0\r\n\r\n").into()
    }
}

type Plan = Box<dyn FnMut(&Call) -> Fate + Send>;

struct Book {
    plan: Plan,
    seen: Vec<Call>,
}

/// The count of calls over several proxies, and the plan for them. Clones share everything.
#[derive(Clone)]
pub struct Calls {
    book: Arc<Mutex<Book>>,
    /// Numbers of the calls that are held now.
    held: watch::Sender<BTreeSet<usize>>,
    /// Rises with each release.
    released: watch::Sender<u64>,
}

impl Default for Calls {
    fn default() -> Self {
        let book = Book { plan: Box::new(|_| Fate::Pass), seen: Vec::new() };
        let (held, released) = (watch::Sender::default(), watch::Sender::default());
        Self { book: Arc::new(Mutex::new(book)), held, released }
    }
}

impl Calls {
    /// Counts from 1 again, and asks this plan from now on what becomes of each call.
    pub fn restart(&self, plan: impl FnMut(&Call) -> Fate + Send + 'static) {
        *self.book() = Book { plan: Box::new(plan), seen: Vec::new() };
    }

    /// The calls since the last restart, in order.
    pub fn seen(&self) -> Vec<Call> {
        self.book().seen.clone()
    }

    /// Waits until a call is held: before it is forwarded, or with its reply here.
    pub async fn held(&self) {
        // The sender is ours: the wait cannot fail.
        let _ = self.held.subscribe().wait_for(|held| !held.is_empty()).await;
    }

    /// Lets go of every call that is held now.
    pub fn release(&self) {
        self.released.send_modify(|n| *n += 1);
    }

    /// Waits until no call came for this long.
    pub async fn quiet(&self, pause: Duration) {
        let mut before = self.seen().len();
        loop {
            tokio::time::sleep(pause).await;
            let now = self.seen().len();
            if now == before {
                return;
            }
            before = now;
        }
    }

    fn count(&self, proxy: &'static str, what: String) -> (usize, Fate) {
        let mut book = self.book();
        let call = Call { number: book.seen.len() + 1, proxy, what };
        let fate = (book.plan)(&call);
        let number = call.number;
        book.seen.push(call);
        (number, fate)
    }

    /// Holds a call until it is released; false when its client went away before.
    async fn hold(&self, number: usize, client: &mut Side) -> bool {
        let mut released = self.released.subscribe();
        self.held.send_if_modified(|held| held.insert(number));
        let is_released = tokio::select! {
            _ = released.changed() => true,
            () = client.gone() => false,
        };
        self.held.send_if_modified(|held| held.remove(&number));
        is_released
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switch {
    Open,
    Stalled,
    Refusing,
    Answering(Answer),
}

/// A proxy on a free port of 127.0.0.1; dropping it closes everything.
pub struct Proxy {
    address: SocketAddr,
    switch: watch::Sender<Switch>,
    /// Cancelled when the connections of the moment are cut.
    connections: Arc<Mutex<CancellationToken>>,
    all: CancellationToken,
}

/// What each connection of a proxy needs.
#[derive(Clone)]
struct Lane {
    name: &'static str,
    wire: Wire,
    upstream: String,
    calls: Calls,
    switch: watch::Receiver<Switch>,
}

impl Proxy {
    /// Listens before a server, `host:port`, which it connects to for each connection of a client.
    pub async fn start(
        name: &'static str,
        wire: Wire,
        upstream: &str,
        calls: &Calls,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let all = CancellationToken::new();
        let connections = Arc::new(Mutex::new(all.child_token()));
        let (switch, state) = watch::channel(Switch::Open);
        let (upstream, calls) = (upstream.to_owned(), calls.clone());
        let lane = Lane { name, wire, upstream, calls, switch: state };
        let accept = accept(listener, lane, Arc::clone(&connections));
        tokio::spawn(all.clone().run_until_cancelled_owned(accept));
        Ok(Self { address, switch, connections, all })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nothing is forwarded in either direction, and nobody is told.
    pub fn stall(&self) {
        self.switch.send_replace(Switch::Stalled);
    }

    /// New connections are closed at once; those there are go on.
    pub fn refuse(&self) {
        self.switch.send_replace(Switch::Refusing);
    }

    /// Every HTTP call is answered this in the place of the service; none is counted.
    pub fn answer(&self, answer: Answer) {
        self.switch.send_replace(Switch::Answering(answer));
    }

    /// Everything is as it was before [`stall`](Self::stall), [`refuse`](Self::refuse) or
    /// [`answer`](Self::answer).
    pub fn resume(&self) {
        self.switch.send_replace(Switch::Open);
    }

    /// Closes both sides of every connection of this moment.
    pub fn cut(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *connections, self.all.child_token()).cancel();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.all.cancel();
    }
}

async fn accept(listener: TcpListener, lane: Lane, connections: Arc<Mutex<CancellationToken>>) {
    while let Ok((client, _)) = listener.accept().await {
        if *lane.switch.borrow() == Switch::Refusing {
            continue;
        }
        let token = connections.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lane = lane.clone();
        // A connection that breaks is closed: its client sees what it would see without a proxy.
        tokio::spawn(token.run_until_cancelled_owned(async move {
            let _ = lane.serve(client).await;
        }));
    }
}

impl Lane {
    async fn serve(mut self, client: TcpStream) -> io::Result<()> {
        self.open().await;
        let mut client = Side::new(client)?;
        let mut server = Side::new(TcpStream::connect(&self.upstream).await?)?;
        if self.wire == Wire::Postgres && !wire::start(&mut client, &mut server).await? {
            return Ok(());
        }
        let mut names = wire::Names::default();
        while let Some(request) = self.next(&mut client, &mut server, &mut names).await? {
            if !self.call(request, &mut client, &mut server).await? {
                break;
            }
        }
        Ok(())
    }

    /// The next request; what the server says unasked is passed on. None: a side is gone.
    async fn next(
        &mut self,
        client: &mut Side,
        server: &mut Side,
        names: &mut wire::Names,
    ) -> io::Result<Option<Request>> {
        loop {
            if let Some(request) = self.wire.request(&mut client.buffer, names) {
                return Ok(Some(request));
            }
            let is_there = tokio::select! {
                is_there = client.fill() => is_there?,
                is_there = server.fill() => is_there?,
            };
            self.open().await;
            client.stream.write_all(&server.buffer.split()).await?;
            if !is_there {
                return Ok(None);
            }
        }
    }

    /// Does what the plan says with a request; false: the connection is over.
    async fn call(
        &mut self,
        request: Request,
        client: &mut Side,
        server: &mut Side,
    ) -> io::Result<bool> {
        let switch = *self.switch.borrow();
        let (number, fate) = match switch {
            Switch::Answering(answer) => (0, Fate::Answer(answer)),
            _ => self.calls.count(self.name, request.what.clone()),
        };
        match fate {
            Fate::Busy | Fate::Answer(_) if self.wire == Wire::Http => {
                let answer = if let Fate::Answer(answer) = fate { answer } else { BUSY };
                client.stream.write_all(&answer.bytes()).await?;
                return Ok(true);
            }
            Fate::Cut | Fate::Busy | Fate::Answer(_) => return Ok(false),
            Fate::HoldBefore if !self.calls.hold(number, client).await => return Ok(false),
            Fate::Delay(pause) => tokio::time::sleep(pause).await,
            Fate::HoldBefore | Fate::Pass | Fate::HoldAfter | Fate::DropReply => {}
        }
        self.open().await;
        server.stream.write_all(&request.bytes).await?;
        let goes_on = loop {
            if let Some(goes_on) = self.wire.is_reply(&request, &server.buffer) {
                break goes_on;
            }
            tokio::select! {
                is_there = server.fill() => if !is_there? { break false },
                () = client.gone() => return Ok(false),
            }
        };
        match fate {
            Fate::DropReply => return Ok(false),
            Fate::HoldAfter if !self.calls.hold(number, client).await => return Ok(false),
            _ => {}
        }
        self.open().await;
        client.stream.write_all(&server.buffer.split()).await?;
        Ok(goes_on)
    }

    /// Waits while the proxy stalls.
    async fn open(&mut self) {
        if self.switch.wait_for(|switch| *switch != Switch::Stalled).await.is_err() {
            // The proxy is gone, and this connection with it.
            std::future::pending::<()>().await;
        }
    }
}
