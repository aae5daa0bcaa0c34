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
const LEFT_OUT: [(&str, &str); 3] = [
    ("failed opt_out", "its owner does not want it in a dataset"),
    ("failed bad_response", "fields behind the last chunk have a bound"),
    ("invalid too_large", "a length of 20 GB is believed"),
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

/// Cases 171-176: the same list through curl, img2dataset and the handler.
pub async fn of_odd_answers_nobody_keeps_more() {
    let answers = answers();
    let place = tempfile::tempdir().unwrap();
    let (ours, verdicts) = by_us(&answers).await;
    let theirs = tokio::task::block_in_place(|| {
        [by_curl(&answers, place.path()), by_img2dataset(&answers, place.path())]
    });
    let is_whole = |n: usize, kept: &Kept| {
        kept.get(&n).is_some_and(|it| answers[n].pictures().iter().any(|own| sha256(own) == *it))
    };
    let all = [&theirs[0], &theirs[1], &ours];
    let count = |case: &str, kept: &Kept| {
        (0..answers.len())
            .filter(|n| (case == "all" || answers[*n].case == case) && is_whole(*n, kept))
            .count()
    };
    println!("| case | curl | img2dataset | ours |\n| --- | --- | --- | --- |");
    let cases: BTreeSet<&str> = answers.iter().map(|odd| odd.case.as_str()).collect();
    let mut behind = Vec::new();
    for case in cases.iter().copied().chain(["all"]) {
        let [curl, img2dataset, ours] = all.map(|kept| count(case, kept));
        println!("| {case} | {curl} | {img2dataset} | {ours} |");
        if case != OPT_OUT && ours < curl.max(img2dataset) {
            behind.push(case);
        }
    }
    let others = all.map(|kept| kept.keys().filter(|n| !is_whole(**n, kept)).count());
    println!(
        "kept and not whole: curl {}, img2dataset {}, ours {}",
        others[0], others[1], others[2]
    );
    let mut unexplained = Vec::new();
    for (n, odd) in answers.iter().enumerate().filter(|(n, _)| !is_whole(*n, &ours)) {
        let by = [is_whole(n, &theirs[0]), is_whole(n, &theirs[1])];
        if by.contains(&true) {
            println!("not ours: {:?} {} {:.100}", by, verdicts[n], odd.text);
            if !LEFT_OUT.iter().any(|(verdict, _)| *verdict == verdicts[n]) {
                unexplained.push(odd.text.clone());
            }
        }
    }
    assert!(behind.is_empty() && unexplained.is_empty(), "{behind:?} {unexplained:#?}");
    assert_eq!(others[2], 0, "what is kept is whole");
}
