//! What curl and img2dataset keep of the odd answers, beside what we keep: ours is never the smallest.

use crate::condition::python_with_img2dataset;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, Stdio},
};
use support::{
    checkout::{hex, root},
    odd::{Odd, answers, servers},
    raw::{Raw, tls_fixture},
    rig::{Rig, inline},
    verdict::handler,
};

/// The case whose answers curl keeps and we do not, for their owners say so.
const OPT_OUT: &str = "77";

/// What each keeps: the SHA-256, by place in the table.
type Kept = BTreeMap<usize, String>;

/// A whole picture that another program keeps and we do not, with the reason.
const LEFT_OUT: [(&str, &str); 2] = [
    ("failed opt_out", "its owner does not want it in a dataset"),
    ("failed bad_response", "fields behind the last chunk have a bound"),
];

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Servers of one program's own: some answers differ from the first request to the second.
fn served(answers: &[Odd]) -> ([Raw; 2], Vec<String>) {
    let servers = servers(answers);
    let urls = answers.iter().map(|odd| servers[usize::from(odd.is_tls)].url(&odd.path));
    let urls = urls.collect();
    (servers, urls)
}

fn by_curl(answers: &[Odd], place: &Path) -> Kept {
    let (_servers, urls) = served(answers);
    let get = |(n, url): (usize, &String)| {
        let file = place.join(n.to_string());
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--fail",
            "--location",
            "--max-time",
            "5",
            "--retry",
            "1",
            "--cacert",
        ]);
        curl.arg(tls_fixture("ca.pem")).arg("--output").arg(&file).arg(url);
        let ended = curl.stdin(Stdio::null()).status().unwrap();
        let bytes = std::fs::read(&file).ok()?;
        ended.success().then(|| (n, sha256(&bytes)))
    };
    let numbered: Vec<(usize, &String)> = urls.iter().enumerate().collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = numbered
            .chunks(20)
            .map(|some| {
                scope.spawn(move || some.iter().copied().filter_map(get).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn by_img2dataset(answers: &[Odd], place: &Path) -> Kept {
    let (_servers, urls) = served(answers);
    let list = place.join("urls.txt");
    std::fs::write(&list, urls.join("\n")).unwrap();
    let mut python = Command::new(python_with_img2dataset().as_ref().unwrap());
    python.arg(root().join("tests/machine/others/download.py")).arg(list).arg(place.join("out"));
    // One of its packages asks the network for news of itself.
    python.env("NO_ALBUMENTATIONS_UPDATE", "1").env("SSL_CERT_FILE", tls_fixture("ca.pem"));
    let output = python.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let kept = lines.lines().filter_map(|line| line.strip_prefix("kept ")?.split_once(' '));
    let place_of = |url: &str| urls.iter().position(|other| other == url).unwrap();
    kept.map(|(url, sha256)| (place_of(url), sha256.to_owned())).collect()
}

async fn by_us(answers: &[Odd]) -> (Kept, Vec<String>) {
    let (servers, urls) = served(answers);
    let rig = Rig::new().await;
    let authority = tls_fixture("ca.pem");
    let extra = [
        ("SSL_CERT_FILE", authority.to_str().unwrap()),
        ("PIXCRAWLER_TOTAL_TIMEOUT_SECONDS", "5"),
        ("PIXCRAWLER_PER_HOST_CONCURRENCY", "32"),
    ];
    let handler = handler(&rig, &[&servers[0], &servers[1]], &extra).await;
    let (status, answer) = handler.deliver("one", &inline(1, 0, &urls)).await;
    assert_eq!(status, 200, "{answer}");
    let manifest = rig.manifest(1, 0).await;
    let items = manifest["items"].as_array().unwrap();
    let kept = items.iter().enumerate().filter(|(_, item)| item["status"] == "valid");
    let kept = kept.map(|(n, item)| (n, item["sha256"].as_str().unwrap().to_owned())).collect();
    let verdicts = support::verdict::verdicts_of(&manifest, &urls);
    (kept, verdicts)
}

/// Whether what was kept of an answer is one of its whole pictures.
fn is_whole(odd: &Odd, kept: Option<&String>) -> bool {
    kept.is_some_and(|kept| odd.pictures().iter().any(|own| sha256(own) == *kept))
}

/// Cases 171-176: the same list through curl, img2dataset and the handler.
pub async fn of_odd_answers_nobody_keeps_more() {
    let answers = answers();
    let place = tempfile::tempdir().unwrap();
    let (ours, verdicts) = by_us(&answers).await;
    let [curl, img2dataset] = tokio::task::block_in_place(|| {
        [by_curl(&answers, place.path()), by_img2dataset(&answers, place.path())]
    });
    // Of each answer, who keeps a whole picture: curl, img2dataset, we.
    let whole = answers.iter().enumerate().map(|(n, odd)| {
        (odd, [&curl, &img2dataset, &ours].map(|kept| is_whole(odd, kept.get(&n))))
    });
    let whole: Vec<(&Odd, [bool; 3])> = whole.collect();
    let behind = compared(&whole);
    let left_out: BTreeSet<&str> = LEFT_OUT.iter().map(|(verdict, _)| *verdict).collect();
    let mut unexplained = Vec::new();
    for ((odd, by), verdict) in whole.iter().zip(&verdicts) {
        if !by[2] && (by[0] || by[1]) {
            eprintln!("not ours: {verdict}, {:.100}", odd.text);
            if !left_out.contains(verdict.as_str()) {
                unexplained.push(&odd.text);
            }
        }
    }
    assert!(behind.is_empty() && unexplained.is_empty(), "{behind:?} {unexplained:#?}");
    let n_whole = whole.iter().filter(|(_, by)| by[2]).count();
    assert_eq!(ours.len(), n_whole, "what is kept is whole");
}

/// Prints how many whole pictures each keeps of each case; the cases in which we do not keep the most.
fn compared(whole: &[(&Odd, [bool; 3])]) -> Vec<String> {
    let cases: BTreeSet<&str> = whole.iter().map(|(odd, _)| odd.case.as_str()).collect();
    let mut behind = Vec::new();
    eprintln!("| case | answers | curl | img2dataset | ours |\n| --- | --- | --- | --- | --- |");
    for case in cases.into_iter().chain(["all"]) {
        let of_case = whole.iter().filter(|(odd, _)| case == "all" || odd.case == case);
        let of_case: Vec<[bool; 3]> = of_case.map(|(_, by)| *by).collect();
        let [curl, img2dataset, ours] =
            [0, 1, 2].map(|n| of_case.iter().filter(|by| by[n]).count());
        eprintln!("| {case} | {} | {curl} | {img2dataset} | {ours} |", of_case.len());
        if case != OPT_OUT && ours < curl.max(img2dataset) {
            behind.push(case.to_owned());
        }
    }
    behind
}
