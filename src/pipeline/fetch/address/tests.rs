//! What the guard lets pass, and what not.

use super::*;
use crate::settings::Program;
use std::collections::BTreeMap;

fn guard() -> Guard {
    Guard { allowed: vec!["127.0.0.1:9999".parse().unwrap()], own: vec!["identity.example".into()] }
}

/// The URLs of the table, each with the detail that it is refused with, or none.
fn urls() -> Vec<(String, Option<Detail>)> {
    let detail = |outcome: &str| {
        let word = outcome.strip_prefix("refused ")?;
        Some(serde_json::from_str(&format!("\"{word}\"")).unwrap())
    };
    let rows = support::cases::rows("urls").into_iter();
    rows.map(|row| (row.input.replace("{port}", "8080"), detail(&row.outcome))).collect()
}

/// Cases 1-33, 40-46; I12: refused before any connection, each with its cause, or passed on.
#[test]
fn refused_urls_never_get_a_connection() {
    let urls = urls();
    assert!(urls.len() > 85, "the table is read");
    for (url, detail) in urls {
        let refused = guard().parse(&url).err();
        assert_eq!(refused, detail.map(refused_with), "{url:.60}");
    }
    for url in [
        "http://identity.example:8080/",
        "http://identity.example.:8080/",
        "http://identity.example/",
        "http://127.0.0.1:9998/",
    ] {
        assert_eq!(guard().parse(url).err(), Some(refused_with(Detail::Address)), "{url}");
    }
}

fn refused_with(detail: Detail) -> Rejection {
    Rejection { reason: Reason::UrlRefused, detail: Some(detail) }
}

/// Cases 43, 181, 182: what is asked for is what browsers ask for. The exemption of the allowed origins.
#[test]
fn urls_are_read_as_browsers_read_them() {
    for (url, asked) in [
        ("http://127.0.0.1:9999/img", "http://127.0.0.1:9999/img"),
        ("http://example.com/a%0d%0ab", "http://example.com/a%0d%0ab"),
        ("https://example.com:8443/?sig=1", "https://example.com:8443/?sig=1"),
        (" HTTP://Example.COM:80/a b.jpg\r\n", "http://example.com/a%20b.jpg"),
        ("http://example.com/a?p=C:\\b\\c", "http://example.com/a?p=C:%5Cb%5Cc"),
        ("http://example.com/./a/../b//c", "http://example.com/b//c"),
        ("http://example.com/\u{dc}?\u{dc}#x", "http://example.com/%C3%9C?%C3%9C#x"),
        ("http://b\u{fc}cher.example/100%", "http://xn--bcher-kva.example/100%"),
    ] {
        assert_eq!(guard().parse(url).map(|u| u.to_string()).as_deref(), Ok(asked), "{url}");
    }
    let of_length = |n: usize| format!("http://example.com/?q={}", "a".repeat(n - 22));
    assert!(guard().parse(&of_length(MAX_URL_BYTES)).is_ok());
    let fragment = format!("{}#{}", of_length(MAX_URL_BYTES), "\u{dc}".repeat(9_000));
    assert!(guard().parse(&fragment).is_ok(), "no server is sent it");
    // A character of three bytes is nine when it is encoded.
    let too_long = [
        of_length(MAX_URL_BYTES + 1) + "#x",
        format!("http://a.example/{}", "\u{5199}".repeat(1000)),
    ];
    for url in too_long {
        assert_eq!(guard().parse(&url).err(), Some(refused_with(Detail::TooLong)));
    }
}

/// A guard of settings with these variables beside those that must be.
fn guard_of(variables: &[(&str, &str)]) -> Guard {
    let must = [
        ("DATABASE_URL", "postgres://u:p@DB.example.:5432/d?hostaddr=8.8.4.4"),
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "7072"),
        ("ChunkStorage__blobServiceUri", "https://pics.blob.core.windows.net/"),
        ("ChunkStorage__queueServiceUri", "https://pics.queue.core.windows.net/"),
        ("IDENTITY_ENDPOINT", "http://8.8.8.8:8081/msi/token"),
    ];
    let pairs = must.iter().chain(variables);
    let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let settings = Settings::parse(Program::Handler, pairs.collect(), BTreeMap::new());
    Guard::new(&settings.unwrap())
}

/// Case 280: storage, database and identity are no origins, under any port, and under any name of the
/// account; others of the same services are.
#[test]
fn the_services_of_the_app_are_refused() {
    let guard = guard_of(&[]);
    let of_another_zone = guard_of(&[
        ("ChunkStorage__blobServiceUri", "https://pics.z7.blob.storage.azure.net/"),
        ("ChunkStorage__queueServiceUri", "https://pics.z7.queue.storage.azure.net/"),
    ]);
    for (guard, url) in [
        (&guard, "https://pics.blob.core.windows.net/pixcrawler-datasets/job_1/dataset.json"),
        (&guard, "http://PICS.Blob.core.windows.net.:8080/a.jpg"),
        (&guard, "https://pics.queue.core.windows.net/"),
        (&guard, "https://pics-secondary.blob.core.windows.net/a.jpg"),
        (&guard, "https://pics.file.core.windows.net/a.jpg"),
        (&guard, "https://pics.z6.web.core.windows.net/a.jpg"),
        (&guard, "https://pics.privatelink.blob.core.windows.net/a.jpg"),
        (&guard, "http://db.example/a.jpg"),
        (&guard, "http://db.EXAMPLE.:8443/a.jpg"),
        (&guard, "http://8.8.4.4/a.jpg"),
        (&guard, "http://8.8.8.8/a.jpg"),
        (&guard, "http://134744072/a.jpg"),
        (&of_another_zone, "https://pics.z7.dfs.storage.azure.net/a.jpg"),
    ] {
        assert_eq!(guard.parse(url).err(), Some(refused_with(Detail::Address)), "{url}");
    }
    for url in [
        "https://others.blob.core.windows.net/a.jpg",
        "https://pics2.blob.core.windows.net/a.jpg",
        "https://mypics.blob.core.windows.net/a.jpg",
        "https://pics.blob.core.usgovcloudapi.net/a.jpg",
        "https://pics.example.com/a.jpg",
        "https://www.db.example/a.jpg",
        "http://8.8.8.9/a.jpg",
    ] {
        assert!(guard.parse(url).is_ok(), "{url}");
    }
}

/// Cases 29, 30, 280: whoever allows an origin by mistake does not open the app's own doors.
#[test]
fn the_services_of_the_app_cannot_be_allowed() {
    let guard = guard_of(&[
        ("DATABASE_URL", "postgres://u:p@127.0.0.1:5433/d"),
        ("ChunkStorage__blobServiceUri", "http://127.0.0.1:10000/pics"),
        ("ChunkStorage__queueServiceUri", "http://[::1]:10001/pics"),
        ("IDENTITY_ENDPOINT", "http://127.0.0.1:41234/msi/token"),
        (
            "PIXCRAWLER_ALLOWED_ORIGINS",
            "127.0.0.1:10000,[::1]:10001,127.0.0.1:5433,127.0.0.1:41234,127.0.0.1:7072,127.0.0.1:9999",
        ),
    ]);
    for port in [10000, 5433, 41234, 7072] {
        let url = format!("http://127.0.0.1:{port}/a.jpg");
        assert_eq!(guard.parse(&url).err(), Some(refused_with(Detail::Address)), "{url}");
    }
    let queue = "http://[::1]:10001/a.jpg";
    assert_eq!(guard.parse(queue).err(), Some(refused_with(Detail::Address)));
    assert!(guard.parse("http://127.0.0.1:9999/a.jpg").is_ok(), "a picture's origin");
}

/// Cases 34-36.
#[test]
fn one_forbidden_address_refuses_the_name() {
    let answer = |texts: &[&str]| {
        allows_answer(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
    };
    assert!(answer(&["93.184.216.34"]));
    assert!(!answer(&["127.0.0.1"]));
    assert!(!answer(&["93.184.216.34", "10.0.0.1"]));
    assert!(!answer(&["93.184.216.34", "fd00::1"]));
}

/// Cases 31-33, 281: each block of the registries, at its first and last address, and the addresses on
/// either side of it that are not of another block.
#[test]
fn every_range_of_the_registries_is_forbidden_to_its_edges() {
    let of_v4 = "0.0.0.0-0.255.255.255 10.0.0.0-10.255.255.255 100.64.0.0-100.127.255.255 \
        127.0.0.0-127.255.255.255 168.63.129.16-168.63.129.16 169.254.0.0-169.254.255.255 \
        172.16.0.0-172.31.255.255 192.0.0.0-192.0.0.255 192.0.2.0-192.0.2.255 \
        192.31.196.0-192.31.196.255 192.52.193.0-192.52.193.255 192.88.99.0-192.88.99.255 \
        192.168.0.0-192.168.255.255 192.175.48.0-192.175.48.255 198.18.0.0-198.19.255.255 \
        198.51.100.0-198.51.100.255 203.0.113.0-203.0.113.255 224.0.0.0-255.255.255.255";
    let of_v6 = "::-1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
        2001::-2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff \
        2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff \
        2002::-2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
        2620:4f:8000::-2620:4f:8000:ffff:ffff:ffff:ffff:ffff \
        3fff::-3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff \
        4000::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    // The neighbours of these are of other blocks, or no addresses.
    let ends = ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    for (first, last) in of_v4.split(' ').chain(of_v6.split(' ')).filter_map(|r| r.split_once('-'))
    {
        let like = |n: u128, ip: &str| match ip.contains(':') {
            true => IpAddr::V6(Ipv6Addr::from_bits(n)),
            false => IpAddr::V4(Ipv4Addr::from_bits(n.try_into().unwrap())),
        };
        for (edge, outside) in [(first, -1), (last, 1)] {
            let ip: IpAddr = edge.parse().unwrap();
            assert!(is_forbidden(ip), "{edge}");
            if !ends.contains(&edge) {
                let ip = like(number(ip).checked_add_signed(outside).unwrap(), edge);
                assert!(!is_forbidden(ip), "{ip} beside {edge}");
            }
        }
    }
    let disguised = "::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 \
        64:ff9b:1::7f00:1 100::1 100:0:0:1::1 2001:2::1 2001:20::1 5f00::1 fc00:: fdff:ffff:: \
        fe80:: fec0:: ff02::1 2002:808:808::";
    for text in disguised.split_whitespace() {
        assert!(is_forbidden(text.parse().unwrap()), "{text}");
    }
    for text in "1.1.1.1 8.8.8.8 93.184.216.34 2001:4860:: 2606:4700:: 2a00:: 2d00::1 2620:4f::"
        .split_whitespace()
    {
        assert!(!is_forbidden(text.parse().unwrap()), "{text}");
    }
}

/// A fuzz target: what passes is an http(s) URL without user info, of a port of the web, not too long, to no
/// special address, and reads the same again.
#[test]
fn fuzz_urls() {
    let rows = support::cases::rows("urls").into_iter().map(|row| row.input.into_bytes());
    let mut seeds: Vec<Vec<u8>> = rows.filter(|input| input.len() < 10_000).collect();
    seeds.push(b"https://example.com:8443/a b/../%c3%bc?q=1#f".to_vec());
    let guard = guard();
    fuzz::target::run("url", &seeds, |bytes| {
        let Ok(url) = guard.parse(&String::from_utf8_lossy(bytes)) else { return };
        assert!(matches!(url.scheme(), "http" | "https"));
        assert!(url[..Position::AfterQuery].len() <= MAX_URL_BYTES);
        assert!(url.username().is_empty() && url.password().is_none(), "{url}");
        let port = url.port_or_known_default().unwrap();
        let is_special = match url.host().unwrap() {
            Host::Ipv4(ip) => is_forbidden(ip.into()),
            Host::Ipv6(ip) => is_forbidden(ip.into()),
            Host::Domain(name) => {
                let name = name.trim_end_matches('.');
                name == "localhost" || name.ends_with(".localhost") || name == "identity.example"
            }
        };
        let is_exempt = url.host_str() == Some("127.0.0.1") && port == 9999;
        assert!(is_exempt || (!is_special && PORTS.contains(&port)), "{url}");
        assert!(!url.as_str().contains(|c: char| c.is_control() || c == ' '), "{url:?}");
        assert_eq!(guard.parse(url.as_str()), Ok(url));
    });
}
