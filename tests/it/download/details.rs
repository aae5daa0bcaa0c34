//! What a manifest says behind the reason of a URL that has no sample.

use super::answers::{IMPATIENT, closed_port};
use serde_json::json;
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
};
use support::{
    origin::picture,
    raw::{Act, Raw, answer, head, tls_fixture},
    rig::{Rig, inline},
    verdict::{details_of, handler, verdicts, verdicts_of},
};

/// Takes connections and does this with each after the first bytes of its request or handshake. It
/// lives as long as the test program.
fn on_first_bytes(act: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // What stays unread makes the kernel reset the connection when it is dropped.
            if stream.read_exact(&mut [0; 16]).is_ok() {
                act(stream);
            }
        }
    });
    address
}

/// Reads what is there, so that the end is an orderly one.
fn close(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 65_536]);
}

/// A fatal alert `handshake_failure` (RFC 8446, section 6).
fn alert(mut stream: TcpStream) {
    stream.write_all(&[21, 3, 3, 0, 2, 2, 40]).unwrap();
    close(stream);
}

/// Runs a chunk of these URLs, which may all be connected to, and compares verdict and detail.
async fn each_says(rig: &Rig, allowed: &[&str], cases: &[(String, &str, &str)]) {
    let authority = tls_fixture("ca.pem");
    let origin = rig.origin.address().to_string();
    let allowed = [&[origin.as_str()], allowed].concat().join(",");
    let extra = [
        ("PIXCRAWLER_ALLOWED_ORIGINS", allowed.as_str()),
        ("SSL_CERT_FILE", authority.to_str().unwrap()),
    ];
    let handler = rig.handler_with(&[&IMPATIENT[..], &extra].concat()).await;
    // A picture, for a chunk of which nothing answers fails as a whole.
    let mut urls: Vec<String> = cases.iter().map(|(url, ..)| url.clone()).collect();
    urls.push(rig.origin.url("/img/1"));
    let verdicts = verdicts(rig, &handler, 1, &urls).await;
    let details = details_of(&rig.manifest(1, 0).await);
    let wrong: Vec<String> = cases
        .iter()
        .zip(verdicts.iter().zip(&details))
        .filter(|((_, verdict, detail), got)| {
            (*verdict, *detail) != (got.0.as_str(), got.1.as_str())
        })
        .map(|((url, verdict, detail), got)| format!("{url}: {got:?}, not {verdict} {detail}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(details.last().map(String::as_str), Some(""), "a sample has nothing to explain");
}

/// Case 183: how connecting failed, and which limit passed.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_fails_says_how() {
    let rig = Rig::new().await;
    let (_bound, refused) = closed_port();
    let (reset, closed) = (on_first_bytes(drop), on_first_bytes(close));
    let silent = Raw::silent();
    let raw = Raw::start(|path, _| {
        let good = picture::jpeg(1, path);
        let half = head(200, &format!("Content-Length: {}\r\n", good.len()), &good[..500]);
        match path {
            "/reset" => Act::Reset(half),
            "/hang" => Act::Hang(half),
            _ => Act::Hang(Vec::new()),
        }
    });
    // Nothing is sent to the broadcast address: there is no route for a connection to it.
    let nowhere = "255.255.255.255:80";
    let failed = "failed connect_failed";
    let cases = [
        (format!("http://{refused}/"), failed, "refused"),
        (format!("http://{reset}/"), failed, "reset"),
        (format!("https://{reset}/"), failed, "reset"),
        (raw.url("/reset"), failed, "reset"),
        (format!("http://{closed}/"), failed, "closed"),
        (format!("http://{nowhere}/"), failed, "no_route"),
        (silent.url("/"), "failed timeout", "connect"),
        (raw.url("/"), "failed timeout", "first_byte"),
        (raw.url("/hang"), "failed timeout", "total"),
        ("http://no-such-name.invalid/".to_owned(), "failed name_not_resolved", "not_found"),
    ];
    let (silent, raw) = (silent.address.to_string(), raw.address.to_string());
    let allowed = [&refused, &reset, &closed, nowhere, &silent, &raw];
    each_says(&rig, &allowed, &cases).await;
}

/// Case 184: what of a certificate or a handshake was wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_fails_says_why() {
    let rig = Rig::new().await;
    let of_certificate = [
        ("expired.pem", "expired"),
        ("not_yet_valid.pem", "not_yet_valid"),
        ("wrong_name.pem", "name_mismatch"),
        ("self_signed.pem", "unknown_issuer"),
        ("self_signed_authority.pem", "self_signed"),
    ];
    let servers = of_certificate.map(|(certificate, detail)| {
        let server = Raw::tls(certificate, |path, _| Act::Send(answer(200, "", path.as_bytes())));
        (server, detail)
    });
    let (closed, alerted) = (on_first_bytes(close), on_first_bytes(alert));
    let plain = on_first_bytes(|mut stream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        close(stream);
    });
    let tls = "failed tls";
    let mut cases = vec![
        (format!("https://{closed}/"), tls, "handshake"),
        (format!("https://{alerted}/"), tls, "alert"),
        (format!("https://{plain}/"), tls, "not_tls"),
        ("https://-a.example/".to_owned(), tls, "bad_name"),
    ];
    cases.extend(servers.iter().map(|(server, detail)| (server.url("/"), tls, *detail)));
    let mut allowed = vec![closed, alerted, plain];
    allowed.extend(servers.iter().map(|(server, _)| server.address.to_string()));
    let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    each_says(&rig, &allowed, &cases).await;
    assert!(servers.iter().all(|(server, _)| server.connections() == 1), "refused is final");
}

/// Case 185: how a body ended early.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_early_says_how() {
    let rig = Rig::new().await;
    let answer = |path: &str, _| {
        let good = picture::jpeg(1, path);
        let length = format!("Content-Length: {}\r\n", good.len());
        let chunked = "Transfer-Encoding: chunked\r\n";
        match path {
            "/length" => Act::Close(head(200, &length, &good[..900])),
            "/in-a-chunk" => Act::Close(head(200, chunked, &[b"fff\r\n", &good[..900]].concat())),
            "/between-chunks" => {
                Act::Close(head(200, chunked, &[b"384\r\n", &good[..900], b"\r\n"].concat()))
            }
            _ => Act::Close(head(200, "", &good[..900])),
        }
    };
    let (plain, tls) = (Raw::start(answer), Raw::tls("good.pem", answer));
    let truncated = "failed truncated";
    let mut cases = Vec::new();
    for server in [&plain, &tls] {
        cases.push((server.url("/length"), truncated, "length"));
        cases.push((server.url("/in-a-chunk"), truncated, "chunks"));
        cases.push((server.url("/between-chunks"), truncated, "chunks"));
    }
    // Without a length nobody knows that it is the body that ends, and not the picture.
    cases.push((plain.url("/close"), "invalid truncated", "container"));
    cases.push((tls.url("/close"), truncated, "close"));
    let allowed = [plain.address.to_string(), tls.address.to_string()];
    each_says(&rig, &allowed.each_ref().map(String::as_str), &cases).await;
}

/// Case 182: a redirect may lead to a URL as long as any, and says why to no longer one.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_a_url_that_is_too_long_says_so() {
    let rig = Rig::new().await;
    let raw = Raw::start(|path, _| match path.trim_start_matches('/').parse::<usize>() {
        Ok(n) => {
            let fragment = "f".repeat(9_000);
            let to = format!("Location: /picture?token={}#{fragment}\r\n", "a".repeat(n));
            Act::Send(answer(302, &to, b""))
        }
        Err(_) => Act::Send(answer(200, "", &picture::jpeg(1, path))),
    });
    let cases =
        [(raw.url("/8100"), "valid", ""), (raw.url("/8200"), "failed url_refused", "too_long")];
    each_says(&rig, &[&raw.address.to_string()], &cases).await;
}

/// Case 187: the label of each item is in the manifest, and a duplicate's meta, which no sidecar has.
#[tokio::test(flavor = "multi_thread")]
async fn captions_of_duplicates_are_kept() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let (picture, gone) = (rig.origin.url("/img/1"), rig.origin.url("/404"));
    let items = json!([
        {"url": picture, "label": "a brown dog", "meta": {"id": 0}},
        {"url": picture, "label": "un chien brun", "meta": {"id": 1}},
        {"url": gone, "label": "a cat", "meta": {"id": 2}},
        {"url": picture},
    ]);
    let message = json!({"version": 1, "job_id": 1, "chunk_index": 0, "source": {"items": items}});
    let (status, answer) = handler.deliver("one", &message).await;
    assert_eq!(status, 200, "{answer}");
    let manifest = rig.manifest(1, 0).await;
    for (item, said) in manifest["items"].as_array().unwrap().iter().zip(items.as_array().unwrap())
    {
        assert_eq!(item.get("label"), said.get("label"), "{item}");
        let is_duplicate = item["status"] == "duplicate";
        assert_eq!(item.get("meta"), said.get("meta").filter(|_| is_duplicate), "{item}");
    }
    let n = |status: &str| {
        let items = manifest["items"].as_array().unwrap();
        items.iter().filter(|item| item["status"] == status).count()
    };
    assert_eq!((n("valid"), n("duplicate"), n("failed")), (1, 2, 1));
}

/// A GIF of one pixel; its codes are the two bytes before the last two.
const GIF: &[u8] =
    b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;";

/// Case 222: what came whole and is not kept says what it is, as far as it was read, and which part of it
/// is to blame.
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_refused_says_what_it_is() {
    let rig = Rig::new().await;
    let jpeg = picture::jpeg(1, "/cut").to_vec();
    let codes = GIF.iter().enumerate().map(|(n, b)| if n == GIF.len() - 4 { 0xFF } else { *b });
    let wide = [
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x4e\x20\0\0\0\x01\x08\x02\0\0\0".as_slice(),
        &[0; 4],
    ];
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".to_vec();
    let small = [GIF, &[0; 600]].concat();
    let size = |n: usize| json!(n);
    let none = || json!(null);
    // Body; reason and detail; format, width, bytes.
    let cases = [
        (b"<html>".to_vec(), "not_image", none(), [none(), none(), size(6)]),
        (heic.clone(), "unsupported_format", json!("format"), [none(), none(), size(heic.len())]),
        (
            jpeg[..jpeg.len() - 9].to_vec(),
            "truncated",
            json!("container"),
            [json!("jpeg"), json!(1024), size(jpeg.len() - 9)],
        ),
        (wide.concat(), "too_large", json!("pixels"), [json!("png"), none(), size(33)]),
        (codes.collect(), "corrupt", json!("codes"), [json!("gif"), json!(1), size(GIF.len())]),
        (small, "too_small", json!("pixels"), [json!("gif"), json!(1), size(GIF.len() + 600)]),
    ];
    let bodies: Vec<Vec<u8>> = cases.iter().map(|(body, ..)| body.clone()).collect();
    let raw = Raw::start(move |path, _| {
        let body = path.trim_start_matches('/').parse().ok().and_then(|n: usize| bodies.get(n));
        match body {
            Some(body) => Act::Send(answer(200, "", body)),
            None => Act::Close(head(200, "Content-Length: 20000000000\r\n", b"")),
        }
    });
    let handler = handler(&rig, &[&raw], &[]).await;
    let urls: Vec<String> = (0..=cases.len()).map(|n| raw.url(&format!("/{n}"))).collect();
    let mut message = inline(1, 0, &urls);
    message["validation"] = json!({"level": "slow"});
    let (status, log) = handler.deliver("slow", &message).await;
    assert_eq!(status, 200, "{log}");
    let manifest = rig.manifest(1, 0).await;
    verdicts_of(&manifest, &urls);
    let items = manifest["items"].as_array().unwrap();
    let said = |n: usize| {
        let item = &items[n];
        let of = ["format", "width", "file_size"].map(|name| item[name].clone());
        (item["reason"].clone(), item["detail"].clone(), of)
    };
    for (n, (_, reason, detail, of)) in cases.into_iter().enumerate() {
        assert_eq!(said(n), (json!(reason), detail, of), "{n}");
    }
    let announced = (json!("too_large"), json!("bytes"), [none(), none(), none()]);
    assert_eq!(said(items.len() - 1), announced);
}
