//! `chunkctl dashboard` as a browser sees it.

use crate::{
    programs,
    rig::{Rig, wait_for},
};
use reqwest::{Method, Response, header::HeaderMap, redirect::Policy};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

/// A thousand jobs, one of a hundred thousand chunks, two hundred thousand attempts.
pub const HISTORY: &str = "set search_path = chunk_handler;
alter table chunk disable trigger chunk_gained;
insert into job (job_id, total_chunks, created_at)
    select j, case j when 1 then 100000 else 20 end, now() - make_interval(mins => 1001 - j)
    from generate_series(1, 1000) j;
insert into chunk (job_id, chunk_index, state, priority, message, fence, attempt, shard_fence, shard_claim,
    totals, shard_blob, manifest_blob, error_code, error_message)
    select j, i, case k when 3 then 'failed' when 5 then 'pending' else 'completed' end::chunk_state, 5, '{}',
        1, 1, d.f, d.f::text, case when d.f = 1 then jsonb_build_object('images_total', 500,
            'images_downloaded', 480, 'images_valid', 450, 'images_invalid', 20, 'images_failed', 20,
            'duplicates_removed', 10, 'bytes_in', 50000000, 'bytes_out', 48000000,
            'errors', jsonb_build_object('http_404', 12, 'http_503', 8, 'too_small', 20, 'duplicate', 10)) end,
        d.f::text, d.f::text, case k when 3 then 'nothing_reachable' end,
        case k when 3 then 'no URL of the chunk could be reached' end
    from generate_series(1, 1000) j
    cross join lateral generate_series(0, case j when 1 then 99999 else 19 end) i
    cross join lateral (select i * 7 % 97 as k) k
    cross join lateral (select case when k not in (3, 5) then 1 end as f) d;
update job set ended_at = now(), ended_as = 'completed' where job_id between 2 and 990;
insert into attempt (job_id, chunk_index, fence, owner, invocation_id, claimed_at, finished_at, outcome,
    error_code, temp_peak_bytes, slot_no)
    select case when n < 100000 then 1 else 2 + (n - 100000) / 200 end, n % 100000, 1, 'p' || n % 3, n::text,
        now() - make_interval(secs => 9 * (200000 - n) + 90), now() - make_interval(secs => 9 * (200000 - n)),
        case n % 37 when 3 then 'failed' when 5 then 'released' else 'completed' end::attempt_outcome,
        case n % 37 when 3 then 'panic' when 5 then 'host_busy' end, 20000000, 1 + n % 10
    from generate_series(0, 199999) n;
alter table chunk enable trigger chunk_gained;
select recount_sums(null);
select keep_sums(null) from generate_series(1, 989);
analyze;";

/// A running dashboard; killed when it is dropped.
pub struct Dashboard {
    child: Child,
    /// Where it listens, without a slash at the end.
    pub address: String,
    errors: Arc<Mutex<Vec<String>>>,
    client: reqwest::Client,
}

/// What it answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// A header that is there.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.unwrap_or_else(|| panic!("no {name}: {:?}", self.headers)).to_str().unwrap()
    }

    /// Whether the page says this, between its tags.
    pub fn says(&self, text: &str) -> bool {
        self.words().contains(text)
    }

    /// Whether the page was read just now: the database was neither away nor slow.
    pub fn is_of_now(&self) -> bool {
        !self.says("No answer from the database") && !self.says("The database is slow")
    }

    /// The text between the tags, with one blank between words.
    pub fn words(&self) -> String {
        let pieces = self.text.split('<').map(|piece| piece.split_once('>').map_or("", |p| p.1));
        let text = pieces.collect::<Vec<_>>().join(" ");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Dashboard {
    /// One of a rig, on a free port of loopback.
    pub async fn start(rig: &Rig, options: &[&str]) -> Self {
        Self::start_with(rig, &[], options).await
    }

    /// The same with some variables replaced.
    pub async fn start_with(rig: &Rig, replaced: &[(&str, &str)], options: &[&str]) -> Self {
        let mut environment = rig.environment();
        environment.extend(replaced.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        Self::spawn(&environment, rig.temp.path(), options).await
    }

    /// One with exactly these variables.
    pub async fn spawn(
        environment: &BTreeMap<String, String>,
        directory: &Path,
        options: &[&str],
    ) -> Self {
        let is_placed = options.contains(&"--listen");
        let listen = ["--listen", "127.0.0.1:0"];
        let mut child = Command::new(programs::chunkctl())
            .arg("dashboard")
            .args(listen.iter().filter(|_| !is_placed))
            .args(options)
            .env_clear()
            .envs(environment)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = Arc::new(Mutex::new(Vec::new()));
        let (stream, lines) = (child.stderr.take().unwrap(), Arc::clone(&errors));
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let mut address = None;
        wait_for("the dashboard listens", async || {
            let lines = errors.lock().unwrap();
            address = lines.iter().find_map(|line| {
                let place = line.strip_prefix("dashboard on ")?.split_once("/ until")?.0;
                Some(place.to_owned())
            });
            assert!(child.try_wait().unwrap().is_none(), "the dashboard ended: {lines:#?}");
            address.is_some()
        })
        .await;
        let client = reqwest::Client::builder().no_proxy().redirect(Policy::none());
        Self { child, address: address.unwrap(), errors, client: client.build().unwrap() }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// What it wrote to stderr.
    pub fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap().clone()
    }

    /// A page that must be there.
    pub async fn page(&self, path: &str) -> Answer {
        let answer = self.get(path, &[]).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(Method::GET, path, headers, "").await
    }

    /// Sends a form as a page of the dashboard does.
    pub async fn submit(&self, path: &str, form: &str) -> Answer {
        self.ask(Method::POST, path, &[("Sec-Fetch-Site", "same-origin")], form).await
    }

    /// Any request.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        form: &str,
    ) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !form.is_empty() {
            request = request
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(form.to_owned());
        }
        let answer: Response = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, text: answer.text().await.unwrap() }
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for line in self.errors() {
                eprintln!("dashboard: {line}");
            }
        }
    }
}
