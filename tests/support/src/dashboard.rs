//! `chunkctl dashboard` as a browser sees it.

use crate::{
    programs,
    rig::{Rig, wait_for},
};
use reqwest::{Method, Response, header::HeaderMap, redirect::Policy};
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

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
        let is_placed = options.contains(&"--listen");
        let listen = ["--listen", "127.0.0.1:0"];
        let mut child = Command::new(programs::chunkctl())
            .arg("dashboard")
            .args(listen.iter().filter(|_| !is_placed))
            .args(options)
            .env_clear()
            .envs(rig.environment())
            .envs(replaced.iter().copied())
            .current_dir(rig.temp.path())
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
