//! A name server that says what a test wants to each question, over UDP and TCP.

pub use hickory_proto::{op::ResponseCode, rr::RecordType};

use hickory_proto::{
    op::{Message, OpCode, Query},
    rr::{Name, RData, Record, rdata::CNAME},
};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    time::sleep,
};

/// What the server does with a question.
pub enum Act {
    Send(Vec<u8>),
    /// Several messages, one after another.
    SendAll(Vec<Vec<u8>>),
    After(Duration, Vec<u8>),
    Silence,
}

/// A question, and how to answer it.
pub struct Question {
    /// Without the dot at its end.
    pub name: String,
    pub kind: RecordType,
    /// How often the same was asked before, copies that a client sent again included.
    pub times: u64,
    pub over_tcp: bool,
    id: u16,
    query: Query,
}

type Answer = Box<dyn Fn(&Question) -> Act + Send + Sync>;

struct Shared {
    answer: Answer,
    asked: Mutex<Vec<String>>,
    times: Mutex<HashMap<(String, RecordType), u64>>,
}

/// A server on a free port of loopback, until the program ends.
pub struct NameServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl NameServer {
    pub fn start(answer: impl Fn(&Question) -> Act + Send + Sync + 'static) -> Self {
        // A port that is free for TCP may be taken for UDP.
        let start = |answer| (0..20).find_map(|_| Self::at(0, &answer).ok());
        let answer: Arc<Answer> = Arc::new(Box::new(answer));
        start(answer).expect("a free port of loopback")
    }

    /// A server on this port of loopback.
    pub fn start_at(
        port: u16,
        answer: impl Fn(&Question) -> Act + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::at(port, &Arc::new(Box::new(answer)))
    }

    fn at(port: u16, answer: &Arc<Answer>) -> io::Result<Self> {
        let tcp = std::net::TcpListener::bind(("127.0.0.1", port))?;
        let address = tcp.local_addr()?;
        let udp = std::net::UdpSocket::bind(address)?;
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        let answer = Arc::clone(answer);
        let shared = Arc::new(Shared {
            answer: Box::new(move |question| answer(question)),
            asked: Mutex::default(),
            times: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(serve(udp, tcp, serving));
        });
        Ok(Self { address, shared })
    }

    /// The questions so far, `NAME TYPE` each, in their order.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// How often it was asked for the IPv4 address of a name.
    pub fn times(&self, name: &str) -> u64 {
        let times = self.shared.times.lock().unwrap();
        times.get(&(name.to_owned(), RecordType::A)).copied().unwrap_or(0)
    }
}

impl Question {
    /// The addresses of these that are of the family that is asked for, perhaps none.
    pub fn addresses(&self, ttl: u32, addresses: &[&str]) -> Vec<u8> {
        self.records(&self.query.name().clone(), ttl, addresses, Vec::new())
    }

    /// That the name is another name's alias, and the addresses of that.
    pub fn alias(&self, of: &str, ttl: u32, addresses: &[&str]) -> Vec<u8> {
        let of = Name::from_ascii(format!("{of}.")).expect("a name");
        let alias = RData::CNAME(CNAME(of.clone()));
        let alias = Record::from_rdata(self.query.name().clone(), ttl, alias);
        self.records(&of, ttl, addresses, vec![alias])
    }

    pub fn code(&self, code: ResponseCode) -> Vec<u8> {
        let mut message = self.message();
        message.metadata.response_code = code;
        message.to_vec().expect("a message")
    }

    /// That there is no such name.
    pub fn denied(&self) -> Vec<u8> {
        self.code(ResponseCode::NXDomain)
    }

    /// That the answer is too long for UDP.
    pub fn truncated(&self) -> Vec<u8> {
        let mut message = self.message();
        message.metadata.truncation = true;
        message.to_vec().expect("a message")
    }

    fn records(&self, name: &Name, ttl: u32, of: &[&str], mut records: Vec<Record>) -> Vec<u8> {
        for address in of {
            let address: IpAddr = address.parse().expect("an address");
            if address.is_ipv4() == (self.kind == RecordType::A) {
                records.push(Record::from_rdata(name.clone(), ttl, RData::from(address)));
            }
        }
        let mut message = self.message();
        message.add_answers(records);
        message.to_vec().expect("a message")
    }

    fn message(&self) -> Message {
        let mut message = Message::response(self.id, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.metadata.recursion_available = true;
        message.add_query(self.query.clone());
        message
    }
}

impl Shared {
    /// What is sent for the bytes of a question.
    async fn answers(&self, bytes: &[u8], over_tcp: bool) -> Vec<Vec<u8>> {
        let message = Message::from_vec(bytes).expect("the product asks well-formed questions");
        let query = message.queries.first().expect("a question").clone();
        let name = query.name().to_ascii().trim_end_matches('.').to_lowercase();
        let kind = query.query_type();
        self.asked.lock().unwrap().push(format!("{name} {kind}"));
        let times = {
            let mut times = self.times.lock().unwrap();
            let times = times.entry((name.clone(), kind)).or_default();
            *times += 1;
            *times - 1
        };
        let id = message.metadata.id;
        match (self.answer)(&Question { name, kind, times, over_tcp, id, query }) {
            Act::Send(answer) => vec![answer],
            Act::SendAll(answers) => answers,
            Act::After(latency, answer) => {
                sleep(latency).await;
                vec![answer]
            }
            Act::Silence => Vec::new(),
        }
    }
}

async fn serve(udp: std::net::UdpSocket, tcp: std::net::TcpListener, shared: Arc<Shared>) {
    let udp = Arc::new(UdpSocket::from_std(udp).expect("a socket"));
    let tcp = TcpListener::from_std(tcp).expect("a listener");
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            Ok((n, client)) = udp.recv_from(&mut buffer) => {
                let (udp, shared, question) = (Arc::clone(&udp), Arc::clone(&shared), buffer[..n].to_vec());
                tokio::spawn(async move {
                    for answer in shared.answers(&question, false).await {
                        let _ = udp.send_to(&answer, client).await;
                    }
                });
            }
            Ok((client, _)) = tcp.accept() => {
                tokio::spawn(serve_stream(client, Arc::clone(&shared)));
            }
        }
    }
}

/// Each message has its length before it (RFC 1035, section 4.2.2).
async fn serve_stream(mut client: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    loop {
        let mut question = vec![0; usize::from(client.read_u16().await?)];
        client.read_exact(&mut question).await?;
        for answer in shared.answers(&question, true).await {
            let length = u16::try_from(answer.len()).expect("a short message");
            client.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await?;
        }
    }
}
