//! Downloads from a Hub on this machine, by the binary and by the library.

#![cfg(feature = "hub")]
#![allow(clippy::unwrap_used)] // a test

mod server;

use diff_models::hub::Hub;
use server::{COMMIT, Repository, Server, Twist, git_sha1, sha256};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

/// Name, content, and whether it is a large file.
type Files = Vec<(String, Vec<u8>, bool)>;

/// The files of a small checkpoint, and some that nobody needs.
fn checkpoint() -> Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        let spec = folder.path().join("spec.toml");
        let text = "kind = 'ddpm'\nresolution = 8\nchannels = 4\nmultipliers = [1, 2]\nblocks = 1\n\
                    norm_groups = 2\nattention_resolutions = [4]\n";
        fs::write(&spec, text).unwrap();
        let model = folder.path().join("model");
        let mut command = Command::new(env!("CARGO_BIN_EXE_diff-models"));
        command.arg("init").arg("--config").arg(&spec).arg("--out").arg(&model);
        assert!(command.status().unwrap().success());
        let names = ["unet/config.json", WEIGHTS, "scheduler/scheduler_config.json"];
        let read = |name: &str| (name.into(), fs::read(model.join(name)).unwrap(), name == WEIGHTS);
        let mut files: Files = names.map(read).into();
        files.push(("README.md".into(), b"words".to_vec(), false));
        files.push(("unet/diffusion_pytorch_model.bin".into(), b"old".to_vec(), true));
        files
    };
    FILES.get_or_init(make).clone()
}

fn model() -> Repository {
    Repository {
        path: "models/org/tiny".into(),
        revision: "main".into(),
        files: checkpoint(),
        twists: HashMap::new(),
        token: None,
        broken: None,
    }
}

fn dataset() -> Repository {
    let file = |name: &str, bytes: &[u8]| (name.to_string(), bytes.to_vec(), true);
    Repository {
        path: "datasets/pictures".into(),
        revision: "refs%2Fconvert%2Fparquet".into(),
        files: vec![
            file("plain text/test/0000.parquet", b"test pictures"),
            file("plain text/train/0000.parquet", b"train pictures"),
        ],
        ..model()
    }
}

/// Runs the binary with an environment that names only `home` and what is in `variables`.
fn inspect(spec: &str, home: &Path, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diff-models"));
    for (key, _) in std::env::vars() {
        if key.starts_with("HF_") || key.starts_with("HUGGINGFACE") || key.ends_with("_proxy") {
            command.env_remove(key);
        }
    }
    command.args(["inspect", spec]).env("HF_HOME", home).env("NO_PROXY", "127.0.0.1");
    command.envs(variables.iter().copied()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The command fails, and says all `words` in one message.
fn refused(output: &Output, words: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

fn accepted(output: &Output) -> String {
    let message = stderr(output);
    assert!(output.status.success(), "{message}");
    message
}

fn requests(seen: &[String], start: &str) -> usize {
    seen.iter().filter(|line| line.starts_with(start)).count()
}

#[test]
fn a_checkpoint_lands_in_the_shared_layout_and_is_fetched_once() {
    let server = Server::start(model());
    let home = tempfile::tempdir().unwrap();
    let online = [("HF_ENDPOINT", server.endpoint.as_str())];
    let message = accepted(&inspect("hub:org/tiny", home.path(), &online));
    assert!(message.contains("hub:org/tiny: 3 file(s)"), "{message}");
    let repository = home.path().join("hub/models--org--tiny");
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    let snapshot = repository.join("snapshots").join(COMMIT);
    for (name, bytes, large) in &checkpoint()[..3] {
        let etag = if *large { sha256(bytes) } else { git_sha1(bytes) };
        assert_eq!(&fs::read(snapshot.join(name)).unwrap(), bytes);
        assert_eq!(&fs::read(repository.join("blobs").join(&etag)).unwrap(), bytes);
        let target = fs::read_link(snapshot.join(name)).unwrap();
        assert_eq!(target, Path::new("../../../blobs").join(etag));
    }
    assert!(!snapshot.join("README.md").exists(), "only what a checkpoint needs is fetched");
    assert!(!repository.join(".incoming").exists());
    let seen = server.seen();
    assert!(seen.iter().all(|line| line.ends_with(' ')), "a token out of nowhere: {seen:?}");
    assert_eq!(requests(&seen, "GET /cdn/"), 1, "{seen:?}");

    for spec in ["hub:org/tiny", "hub:org/tiny@main", &format!("hub:org/tiny@{COMMIT}")] {
        let server = Server::start(Repository {
            revision: spec.split_once('@').map_or("main", |(_, revision)| revision).into(),
            ..model()
        });
        let online = [("HF_ENDPOINT", server.endpoint.as_str())];
        assert_eq!(accepted(&inspect(spec, home.path(), &online)), "");
        let seen = server.seen();
        assert_eq!(requests(&seen, "GET /api/"), seen.len(), "{seen:?}");
        let offline = [("HF_HUB_OFFLINE", "1"), online[0]];
        assert_eq!(accepted(&inspect(spec, home.path(), &offline)), "");
        assert!(server.seen().is_empty(), "offline means no request");
    }
}

#[test]
fn the_token_comes_from_the_variable_or_the_file() {
    let server = Server::start(Repository { token: Some("secret".into()), ..model() });
    let home = tempfile::tempdir().unwrap();
    let endpoint = ("HF_ENDPOINT", server.endpoint.as_str());
    let words = ["hub:org/tiny", "401", "HF_TOKEN", &server.endpoint];
    refused(&inspect("hub:org/tiny", home.path(), &[endpoint]), &words);
    let wrong = inspect("hub:org/tiny", home.path(), &[endpoint, ("HF_TOKEN", "wrong")]);
    refused(&wrong, &["hub:org/tiny", "403", "HF_TOKEN", &server.endpoint]);
    assert!(!stderr(&wrong).contains("wrong"), "tokens are not printed");
    server.seen();
    accepted(&inspect("hub:org/tiny", home.path(), &[endpoint, ("HF_TOKEN", "secret")]));
    let seen = server.seen();
    let ours = seen.iter().filter(|line| !line.contains(" /cdn/")).collect::<Vec<_>>();
    assert!(ours.len() > 4 && ours.iter().all(|line| line.ends_with("Bearer secret")), "{seen:?}");

    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("token"), "secret\n").unwrap();
    accepted(&inspect("hub:org/tiny", home.path(), &[endpoint]));
    // Who may not read it any more is told so, cached copy or not.
    fs::remove_file(home.path().join("token")).unwrap();
    refused(&inspect("hub:org/tiny", home.path(), &[endpoint]), &["401"]);
}

#[test]
fn what_is_not_there_is_named() {
    let server = Server::start(model());
    let home = tempfile::tempdir().unwrap();
    let online = [("HF_ENDPOINT", server.endpoint.as_str())];
    for (spec, word) in [("hub:org/none", "org/none"), ("hub:org/tiny@v2", "`v2`")] {
        let output = inspect(spec, home.path(), &online);
        refused(&output, &[spec, "404", word, &server.endpoint, "HF_TOKEN"]);
    }
    let offline = inspect("hub:org/tiny", home.path(), &[("HF_HUB_OFFLINE", "TRUE"), online[0]]);
    let folder = home.path().join("hub/models--org--tiny");
    refused(&offline, &["hub:org/tiny", "HF_HUB_OFFLINE", folder.to_str().unwrap(), "`main`"]);
    let empty = Server::start(Repository { files: checkpoint()[3..4].to_vec(), ..model() });
    let output = inspect("hub:org/tiny", home.path(), &[("HF_ENDPOINT", &empty.endpoint)]);
    refused(&output, &["hub:org/tiny", "none of", WEIGHTS]);
    let bad = inspect("hub:org/tiny", home.path(), &[("HF_ENDPOINT", "nowhere")]);
    refused(&bad, &["HF_ENDPOINT = nowhere"]);
}

#[test]
fn wrong_content_names_the_file_and_never_loads() {
    let home = tempfile::tempdir().unwrap();
    let config = "unet/config.json";
    for (name, twist, word) in [
        (WEIGHTS, Twist::Altered, "expected SHA-256"),
        (WEIGHTS, Twist::Short, "bytes, found"),
        (WEIGHTS, Twist::Cut, "cannot download"),
        (WEIGHTS, Twist::Status(404), "bytes, found 2"),
        (config, Twist::Altered, "expected git SHA-1"),
        (config, Twist::Short, "bytes, found"),
    ] {
        let server = Server::start(Repository { twists: [(name.into(), twist)].into(), ..model() });
        let online = [("HF_ENDPOINT", server.endpoint.as_str())];
        let output = inspect("hub:org/tiny", home.path(), &online);
        refused(&output, &["hub:org/tiny", name, word, &server.endpoint]);
        let repository = home.path().join("hub/models--org--tiny");
        let (_, bytes, large) = checkpoint().into_iter().find(|(held, ..)| held == name).unwrap();
        let etag = if large { sha256(&bytes) } else { git_sha1(&bytes) };
        assert!(!repository.join("blobs").join(etag).exists());
        assert!(!repository.join("snapshots").join(COMMIT).join(name).exists());
        for spec in ["hub:org/tiny", &format!("hub:org/tiny@{COMMIT}")] {
            refused(&inspect(spec, home.path(), &[("HF_HUB_OFFLINE", "1")]), &[spec]);
        }
        // The next attempt has to fetch this file, whatever the last one left.
        fs::remove_dir_all(&repository).unwrap();
    }
    let server = Server::start(model());
    accepted(&inspect("hub:org/tiny", home.path(), &[("HF_ENDPOINT", &server.endpoint)]));
}

#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    let home = tempfile::tempdir().unwrap();
    let twists = [(WEIGHTS.into(), Twist::Cut)].into();
    let server = Server::start(Repository { twists, ..model() });
    let online = [("HF_ENDPOINT", server.endpoint.as_str())];
    refused(&inspect("hub:org/tiny", home.path(), &online), &["cannot download"]);
    let at = format!("hub:org/tiny@{COMMIT}");
    refused(&inspect(&at, home.path(), &[("HF_HUB_OFFLINE", "1")]), &[&at, "not finished"]);
    let server = Server::start(model());
    accepted(&inspect("hub:org/tiny", home.path(), &[("HF_ENDPOINT", &server.endpoint)]));
    let seen = server.seen();
    assert_eq!(requests(&seen, "GET /org/tiny/resolve/"), 2, "{seen:?}");
    assert!(!seen.iter().any(|line| line.starts_with("GET") && line.contains("unet/config.json")));
    accepted(&inspect(&at, home.path(), &[("HF_HUB_OFFLINE", "1")]));
}

#[test]
fn a_cached_file_of_the_wrong_size_is_fetched_again() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(model());
    let online = [("HF_ENDPOINT", server.endpoint.as_str())];
    accepted(&inspect("hub:org/tiny", home.path(), &online));
    let snapshot = home.path().join("hub/models--org--tiny/snapshots").join(COMMIT);
    fs::write(snapshot.join(WEIGHTS), "an error page").unwrap();
    let message = accepted(&inspect("hub:org/tiny", home.path(), &online));
    assert!(message.contains("1 file(s)"), "{message}");
}

#[test]
fn a_hub_out_of_reach_makes_way_for_the_cache() {
    let home = tempfile::tempdir().unwrap();
    let unreachable = [("HF_ENDPOINT", "http://127.0.0.1:9")];
    let output = inspect("hub:org/tiny", home.path(), &unreachable);
    let folder = home.path().join("hub/models--org--tiny");
    refused(&output, &["hub:org/tiny", "http://127.0.0.1:9", folder.to_str().unwrap(), "refused"]);
    let server = Server::start(model());
    accepted(&inspect("hub:org/tiny", home.path(), &[("HF_ENDPOINT", &server.endpoint)]));
    let message = accepted(&inspect("hub:org/tiny", home.path(), &unreachable));
    assert!(message.contains("using the cached copy"), "{message}");
    let broken = Server::start(Repository { broken: Some(503), ..model() });
    let output = inspect("hub:org/tiny", home.path(), &[("HF_ENDPOINT", &broken.endpoint)]);
    let message = accepted(&output);
    assert!(message.contains("503") && message.contains("using the cached copy"), "{message}");
    assert!(broken.seen().len() > 1, "a passing fault is tried again");
}

#[test]
fn a_hub_that_falls_silent_does_not_hang() {
    let home = tempfile::tempdir().unwrap();
    let twists = [(WEIGHTS.into(), Twist::Stalled)].into();
    let server = Server::start(Repository { twists, ..model() });
    let online = [("HF_ENDPOINT", server.endpoint.as_str()), ("HF_HUB_DOWNLOAD_TIMEOUT", "0.7")];
    let began = Instant::now();
    let output = inspect("hub:org/tiny", home.path(), &online);
    refused(&output, &["hub:org/tiny", WEIGHTS, "silent for 0.7 s", "HF_HUB_DOWNLOAD_TIMEOUT"]);
    assert!(began.elapsed() < Duration::from_secs(30));
    let impossible = [("HF_HUB_DOWNLOAD_TIMEOUT", "soon")];
    refused(
        &inspect("hub:org/tiny", home.path(), &impossible),
        &["HF_HUB_DOWNLOAD_TIMEOUT = soon"],
    );
}

fn hub(endpoint: &str, cache: &Path) -> Hub {
    Hub {
        endpoint: endpoint.into(),
        cache: cache.into(),
        token: Some("secret".into()),
        offline: false,
        patience: Duration::from_secs(20),
    }
}

#[test]
fn a_data_set_is_fetched_by_patterns_at_a_revision_with_slashes() {
    let server = Server::start(Repository { token: Some("secret".into()), ..dataset() });
    let cache: TempDir = tempfile::tempdir().unwrap();
    let hub = hub(&server.endpoint, cache.path());
    let revision = "refs/convert/parquet";
    let folder = hub.dataset("pictures", revision, &["*/test/*.parquet"]).unwrap();
    let repository = cache.path().join("datasets--pictures");
    assert_eq!(folder, repository.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(repository.join("refs").join(revision)).unwrap(), COMMIT);
    assert_eq!(fs::read(folder.join("plain text/test/0000.parquet")).unwrap(), b"test pictures");
    assert!(!folder.join("plain text/train").exists());
    server.seen();
    hub.dataset("pictures", revision, &["*/test/*.parquet"]).unwrap();
    assert_eq!(requests(&server.seen(), "GET /cdn/"), 0);

    let offline = Hub { offline: true, ..hub.clone() };
    assert_eq!(offline.dataset("pictures", revision, &["*/test/*"]).unwrap(), folder);
    let error = offline.dataset("pictures", revision, &["*/train/*"]).unwrap_err().to_string();
    assert!(error.contains("`*/train/*`") && error.contains(folder.to_str().unwrap()), "{error}");
    let all = hub.dataset("pictures", revision, &["*.parquet"]).unwrap();
    assert_eq!(fs::read(all.join("plain text/train/0000.parquet")).unwrap(), b"train pictures");
    assert_eq!(requests(&server.seen(), "GET /cdn/"), 1, "only the other half was missing");
    let error = hub.dataset("pictures", revision, &["*.csv"]).unwrap_err().to_string();
    assert!(error.contains("`*.csv`") && error.contains(&server.endpoint), "{error}");
    let error = hub.dataset("pictures", "main", &["*"]).unwrap_err().to_string();
    assert!(error.contains("data set pictures@main") && error.contains("404"), "{error}");
}

#[test]
fn a_data_set_with_an_owner_has_it_in_every_name() {
    let repository = Repository { path: "datasets/org/pictures".into(), ..dataset() };
    let server = Server::start(repository);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server.endpoint, cache.path());
    let folder = hub.dataset("org/pictures", "refs/convert/parquet", &["*"]).unwrap();
    assert!(folder.starts_with(cache.path().join("datasets--org--pictures")));
}

#[test]
fn names_that_lead_out_of_the_cache_are_refused() {
    let mut repository = dataset();
    repository.files[0].0 = "../../../outside".into();
    let server = Server::start(repository);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server.endpoint, cache.path());
    let error = hub.dataset("pictures", "refs/convert/parquet", &["*"]).unwrap_err().to_string();
    assert!(error.contains("../../../outside: expected a path inside"), "{error}");
}

#[test]
fn two_downloads_at_once_share_the_work() {
    let server = Server::start(dataset());
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server.endpoint, cache.path());
    let fetch = || hub.dataset("pictures", "refs/convert/parquet", &["*"]).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(fetch);
        assert_eq!(fetch(), first.join().unwrap());
    });
    assert_eq!(requests(&server.seen(), "GET /cdn/"), 2, "each file once");
}

/// The CIFAR-10 in a cache that another client wrote, where this machine has one.
#[test]
fn a_cache_of_another_client_is_read() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("DIFF_SHARED").map_or(beside, PathBuf::from);
    let cache = shared.join("data/hf-home/hub");
    if !cache.is_dir() {
        println!("skipped: no {}", cache.display());
        return;
    }
    let hub = Hub { offline: true, ..hub("http://127.0.0.1:9", &cache) };
    let patterns = ["plain_text/train/*.parquet", "plain_text/test/*.parquet"];
    let folder = hub.dataset("cifar10", "refs/convert/parquet", &patterns).unwrap();
    assert!(folder.join("plain_text/train/0000.parquet").is_file());
    let error = hub.dataset("cifar10", "main", &patterns).unwrap_err().to_string();
    assert!(error.contains("`main`") && error.contains("datasets--cifar10"), "{error}");
}
