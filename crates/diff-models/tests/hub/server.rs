//! A small Hub on 127.0.0.1: what the Hub answers to a snapshot download, and ways to fail.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

pub(crate) const COMMIT: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// How the content of a file goes wrong.
#[derive(Clone, Copy)]
pub(crate) enum Twist {
    /// The last byte is another one.
    Altered,
    /// The connection closes early, against the announced length.
    Cut,
    /// The content ends early, with nothing announced.
    Short,
    /// An answer of this status instead.
    Status(u16),
    /// Half of it, and then nothing for a long time.
    Stalled,
}

/// One repository.
#[derive(Clone)]
pub(crate) struct Repository {
    /// `models/org/name`, `datasets/name`.
    pub(crate) path: String,
    /// The revision that exists, as it is written in an address.
    pub(crate) revision: String,
    /// Name, content, and whether it is a large file.
    pub(crate) files: Vec<(String, Vec<u8>, bool)>,
    pub(crate) twists: HashMap<String, Twist>,
    /// A token without which everything is 401, and with another 403.
    pub(crate) token: Option<String>,
    /// Every answer is this status.
    pub(crate) broken: Option<u16>,
}

pub(crate) struct Server {
    pub(crate) endpoint: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves `repository` until the test ends.
    pub(crate) fn start(repository: Repository) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, base) = (seen.clone(), endpoint.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (repository, log, base) = (repository.clone(), log.clone(), base.clone());
                // A client that goes away ends its thread, and nothing else.
                std::thread::spawn(move || serve(stream.ok()?, &repository, &base, &log));
            }
        });
        Server { endpoint, seen }
    }

    /// What was asked since the last call: method, address and token, one a line.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn git_sha1(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn serve(
    stream: TcpStream,
    repository: &Repository,
    base: &str,
    log: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut token = String::new();
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some((key, value)) = line.split_once(": ")
            && key.eq_ignore_ascii_case("authorization")
        {
            token = value.trim().to_string();
        }
        line.clear();
    }
    let mut words = first.split(' ');
    let (method, address) = (words.next()?, words.next()?);
    log.lock().unwrap().push(format!("{method} {address} {token}"));
    let answer = answer(repository, base, address, &token);
    send(stream, answer, method == "HEAD")
}

#[derive(Default)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    twist: Option<Twist>,
}

fn answer(repository: &Repository, base: &str, address: &str, token: &str) -> Answer {
    let plain = |status: u16, body: String| Answer {
        status,
        headers: vec![("content-type", "application/json".into())],
        body: body.into_bytes(),
        twist: None,
    };
    let refused = |status| plain(status, r#"{"error": "so says the test"}"#.into());
    if let Some(status) = repository.broken {
        return refused(status);
    }
    if let Some(digest) = address.strip_prefix("/cdn/") {
        let held = repository.files.iter().find(|(_, bytes, _)| sha256(bytes) == digest);
        return held
            .map_or_else(|| refused(404), |(name, bytes, _)| content(repository, name, bytes));
    }
    match &repository.token {
        Some(_) if token.is_empty() => return refused(401),
        Some(right) if token != format!("Bearer {right}") => return refused(403),
        _ => {}
    }
    let path = &repository.path;
    if address.starts_with(&format!("/api/{path}/revision/{}", repository.revision)) {
        return plain(200, format!(r#"{{"_id": "1", "id": "x", "sha": "{COMMIT}"}}"#));
    }
    if address.starts_with(&format!("/api/{path}/tree/{COMMIT}")) {
        return plain(200, tree(repository));
    }
    let page = path.strip_prefix("models/").unwrap_or(path);
    let Some(name) = address.strip_prefix(&format!("/{page}/resolve/{COMMIT}/")) else {
        return refused(404);
    };
    match repository.files.iter().find(|(held, ..)| held.replace(' ', "%20") == name) {
        None => refused(404),
        Some((_, bytes, true)) => {
            let (digest, size) = (sha256(bytes), bytes.len().to_string());
            let headers = vec![
                ("location", format!("{base}/cdn/{digest}")),
                ("x-linked-etag", format!("\"{digest}\"")),
                ("x-linked-size", size),
                ("x-repo-commit", COMMIT.into()),
            ];
            Answer { status: 302, headers, ..Answer::default() }
        }
        Some((name, bytes, false)) => content(repository, name, bytes),
    }
}

/// The listing, as the Hub writes it: the digest of a large file is called `oid`.
fn tree(repository: &Repository) -> String {
    let entries = repository.files.iter().map(|(name, bytes, large)| {
        let (size, oid) = (bytes.len(), git_sha1(bytes));
        let digest = sha256(bytes);
        let lfs = format!(r#", "lfs": {{"oid": "{digest}", "size": {size}, "pointerSize": 134}}"#);
        let lfs = if *large { lfs } else { String::new() };
        format!(r#"{{"type": "file", "path": "{name}", "size": {size}, "oid": "{oid}"{lfs}}}"#)
    });
    let folder = r#"{"type": "directory", "path": "unet", "oid": "0"}"#.to_string();
    format!("[{}]", entries.chain([folder]).collect::<Vec<_>>().join(", "))
}

fn content(repository: &Repository, name: &str, bytes: &[u8]) -> Answer {
    let headers =
        vec![("etag", format!("\"{}\"", git_sha1(bytes))), ("x-repo-commit", COMMIT.into())];
    let twist = repository.twists.get(name).copied();
    Answer { status: 200, headers, body: bytes.to_vec(), twist }
}

fn send(mut stream: TcpStream, mut answer: Answer, head: bool) -> Option<()> {
    let half = answer.body.len() / 2;
    let mut length = Some(answer.body.len());
    let mut stall = false;
    // What a HEAD says is right; only the content is not.
    match answer.twist.filter(|_| !head) {
        None => {}
        Some(Twist::Altered) => *answer.body.last_mut()? ^= 1,
        Some(Twist::Cut) => answer.body.truncate(half),
        Some(Twist::Short) => {
            answer.body.truncate(half);
            length = None;
        }
        Some(Twist::Status(status)) => {
            answer.status = status;
            answer.body = b"no".to_vec();
            length = Some(2);
        }
        Some(Twist::Stalled) => {
            answer.body.truncate(half);
            stall = true;
        }
    }
    let mut text = format!("HTTP/1.1 {} x\r\nconnection: close\r\n", answer.status);
    for (key, value) in &answer.headers {
        text += &format!("{key}: {value}\r\n");
    }
    if let Some(length) = length {
        text += &format!("content-length: {length}\r\n");
    }
    stream.write_all(format!("{text}\r\n").as_bytes()).ok()?;
    if !head {
        stream.write_all(&answer.body).ok()?;
    }
    stream.flush().ok()?;
    if stall {
        std::thread::sleep(Duration::from_secs(60));
    }
    stream.shutdown(std::net::Shutdown::Write).ok()?;
    // Reading to the end keeps the system from resetting the connection.
    stream.read_to_end(&mut Vec::new()).ok().map(|_| ())
}
