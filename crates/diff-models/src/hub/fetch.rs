//! Downloads: which files are missing, into the waiting room, checked, into the cache.
//!
//! hf-hub 1.0 moves files into its cache as they come, whatever the answer to its GET was. So its
//! cache is a waiting room here, and only what [`verify`] passed goes on.

use super::{
    Fault, Hub,
    cache::{Cached, is_commit},
    meter::Meter,
    request::{Kind, Request, is_inside},
    verify::verify,
};
use diff_core::save::{atomic_bytes, sync_folder};
use futures::TryStreamExt;
use hf_hub::{HFClient, HFRepository, HFResult, RepoType, repository::RepoTreeEntry};
use std::{
    fs::{self, File, TryLockError},
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
};

/// The snapshot folder that answers `request`, up to date.
pub(super) fn fetch(hub: &Hub, cached: &Cached, request: &Request) -> Result<PathBuf, Fault> {
    // A thread of its own, because the caller may be inside an asynchronous runtime.
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let meter = Arc::new(Meter::default());
        let session = Session { hub, cached, request, meter };
        runtime.map_err(Fault::new)?.block_on(session.fetch())
    };
    std::thread::scope(|scope| {
        scope.spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

struct Session<'a> {
    hub: &'a Hub,
    cached: &'a Cached,
    request: &'a Request<'a>,
    meter: Arc<Meter>,
}

/// A file of the repository.
struct Remote {
    name: String,
    size: u64,
}

impl Session<'_> {
    async fn fetch(&self) -> Result<PathBuf, Fault> {
        let client = self.client().map_err(|e| Fault::of(e, self.hub, self.request))?;
        let repository = &self.request.repository;
        let (owner, name) = (&repository.owner, &repository.name);
        let (revision, only) = (self.request.revision, vec!["sha".to_string()]);
        match repository.kind {
            Kind::Model => {
                let remote = client.model(owner, name);
                let info = remote.info().revision(revision).expand(only).send();
                let commit = self.patient(info).await?.sha;
                self.complete(&remote, commit).await
            }
            Kind::Dataset => {
                let remote = client.dataset(owner, name);
                let info = remote.info().revision(revision).expand(only).send();
                let commit = self.patient(info).await?.sha;
                self.complete(&remote, commit).await
            }
        }
    }

    fn client(&self) -> HFResult<HFClient> {
        let builder = HFClient::builder();
        let builder = builder.endpoint(&self.hub.endpoint).cache_dir(self.cached.incoming());
        match &self.hub.token {
            Some(token) => builder.token(token).build(),
            None => builder.build(),
        }
    }

    /// Brings the snapshot of `commit` up to date.
    async fn complete<T: RepoType>(
        &self,
        remote: &HFRepository<T>,
        commit: Option<String>,
    ) -> Result<PathBuf, Fault> {
        let revision = self.request.revision;
        let commit = commit.filter(|commit| is_commit(commit)).ok_or_else(|| {
            Fault::new(format!("{} names no commit for `{revision}`", self.hub.endpoint))
        })?;
        let files = self.wanted(remote, &commit).await?;
        let is_new = || self.cached.commit(revision).as_deref() != Some(&commit);
        if is_new() || files.iter().any(|file| self.is_missing(&commit, file)) {
            let _lock = self.lock()?;
            // Another process may have done some of it while we waited.
            let missing: Vec<&Remote> =
                files.iter().filter(|file| self.is_missing(&commit, file)).collect();
            if !missing.is_empty() {
                self.download(remote, &commit, &missing).await?;
            }
            if is_new() {
                let reference = self.cached.reference(revision);
                atomic_bytes(&reference, commit.as_bytes()).map_err(failed)?;
            }
        }
        Ok(self.cached.snapshot(&commit))
    }

    /// The files of `commit` that the request wants.
    async fn wanted<T: RepoType>(
        &self,
        remote: &HFRepository<T>,
        commit: &str,
    ) -> Result<Vec<Remote>, Fault> {
        let entries = async {
            let entries = remote.list_tree().revision(commit).recursive(true).send()?;
            entries.inspect_ok(|_| self.meter.sign()).try_collect::<Vec<_>>().await
        };
        let mut files = Vec::new();
        for entry in self.patient(entries).await? {
            if let RepoTreeEntry::File { path, size, lfs, .. } = entry {
                let size = lfs.and_then(|lfs| lfs.size).unwrap_or(size);
                files.push(Remote { name: path, size });
            }
        }
        let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        let (endpoint, revision) = (&self.hub.endpoint, self.request.revision);
        let wanted = self.request.wanted.choose(&names).map_err(|missing| {
            Fault::new(format!("at {endpoint}, revision `{revision}` has {missing}"))
        })?;
        if let Some(name) = wanted.iter().find(|name| !is_inside(name)) {
            return Err(Fault::new(format!("{name}: expected a path inside the repository")));
        }
        files.retain(|file| wanted.contains(&file.name));
        Ok(files)
    }

    fn is_missing(&self, commit: &str, file: &Remote) -> bool {
        let path = self.cached.snapshot(commit).join(&file.name);
        !path.metadata().is_ok_and(|found| found.is_file() && found.len() == file.size)
    }

    /// The lock under which files are added; waits for another process that does.
    fn lock(&self) -> Result<File, Fault> {
        let path = &self.cached.lock;
        make_parent(path)?;
        let file = File::create(path).map_err(io_fault(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                eprintln!("{}: waiting for another download of it", self.request.spec);
                file.lock().map_err(io_fault(path))?;
            }
            Err(TryLockError::Error(error)) => return Err(io_fault(path)(error)),
        }
        Ok(file)
    }

    async fn download<T: RepoType>(
        &self,
        remote: &HFRepository<T>,
        commit: &str,
        files: &[&Remote],
    ) -> Result<(), Fault> {
        let total: u64 = files.iter().map(|file| file.size).sum();
        let (spec, hub, count) = (self.request.spec, self.hub, files.len());
        let (endpoint, cache, mega) = (&hub.endpoint, hub.cache.display(), total as f64 / 1e6);
        eprintln!("{spec}: {count} file(s), {mega:.1} MB from {endpoint} to {cache}");
        let unfinished = self.cached.unfinished(commit);
        atomic_bytes(&unfinished, b"").map_err(failed)?;
        self.meter.begin(total);
        let mut before = 0;
        let mut result = Ok(());
        for file in files {
            self.meter.file(&file.name, before);
            before += file.size;
            result = self.file(remote, commit, file).await;
            if result.is_err() {
                break;
            }
        }
        self.meter.end();
        remove_folder(&self.cached.incoming())?;
        result?;
        fs::remove_file(&unfinished).map_err(io_fault(&unfinished))?;
        // Stays while another commit is unfinished.
        let _ = unfinished.parent().map(fs::remove_dir);
        Ok(())
    }

    /// Fetches, checks and files one file.
    async fn file<T: RepoType>(
        &self,
        remote: &HFRepository<T>,
        commit: &str,
        file: &Remote,
    ) -> Result<(), Fault> {
        let incoming = self.cached.incoming();
        // What an interrupted run left here was never checked.
        remove_folder(&incoming)?;
        let got = remote.download_file().filename(&file.name).revision(commit);
        let got = self.patient(got.progress(self.meter.clone()).send()).await;
        got.map_err(|fault| fault.with_file(&file.name))?;
        let blobs = incoming.join(self.request.repository.folder()).join("blobs");
        let (staged, etag) = only_file(&blobs).map_err(io_fault(&blobs))?;
        let endpoint = &self.hub.endpoint;
        verify(&staged, file.size, &etag).map_err(|wrong| {
            let wrong = format!("not what {endpoint} promised: {wrong}; it was not kept");
            Fault::new(wrong).with_file(&file.name)
        })?;
        let blob = self.cached.blobs().join(&etag);
        make_parent(&blob)?;
        File::open(&staged).and_then(|f| f.sync_all()).map_err(io_fault(&staged))?;
        fs::rename(&staged, &blob).map_err(io_fault(&blob))?;
        sync_folder(&self.cached.blobs()).map_err(failed)?;
        let link = self.cached.snapshot(commit).join(&file.name);
        make_parent(&link)?;
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_fault(&link)(error)),
            _ => point(&link, &file.name, &blob).map_err(io_fault(&link)),
        }
    }

    /// Waits for `future` as long as the Hub shows signs of life.
    async fn patient<T>(&self, future: impl Future<Output = HFResult<T>>) -> Result<T, Fault> {
        let mut future = pin!(future);
        loop {
            let signs = self.meter.signs();
            match tokio::time::timeout(self.hub.patience, future.as_mut()).await {
                Ok(result) => return result.map_err(|e| Fault::of(e, self.hub, self.request)),
                Err(_) if self.meter.signs() == signs => return Err(Fault::silent(self.hub)),
                Err(_) => {}
            }
        }
    }
}

/// Makes `link`, the file `name` of a snapshot, stand for `blob`.
#[cfg(unix)]
fn point(link: &Path, name: &str, blob: &Path) -> io::Result<()> {
    let up = "../".repeat(name.split('/').count() + 1);
    let etag = blob.file_name().unwrap_or_default();
    std::os::unix::fs::symlink(Path::new(&up).join("blobs").join(etag), link)
}

/// Where links need privileges, the file is there twice, as with every Hub client.
#[cfg(not(unix))]
fn point(link: &Path, _name: &str, blob: &Path) -> io::Result<()> {
    fs::copy(blob, link).map(|_| ())
}

/// The one file in `folder`, and its name.
fn only_file(folder: &Path) -> io::Result<(PathBuf, String)> {
    let entry = fs::read_dir(folder)?.next().ok_or(io::ErrorKind::NotFound)??;
    Ok((entry.path(), entry.file_name().to_string_lossy().into_owned()))
}

fn remove_folder(folder: &Path) -> Result<(), Fault> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_fault(folder)(error)),
        _ => Ok(()),
    }
}

fn make_parent(path: &Path) -> Result<(), Fault> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(io_fault(folder))
}

fn io_fault(path: &Path) -> impl FnOnce(io::Error) -> Fault {
    move |error| Fault::new(format!("{}: {error}", path.display()))
}

/// A failed save, with the system's reason.
fn failed(error: diff_core::Error) -> Fault {
    let reason = std::error::Error::source(&error).map(|e| format!(": {e}")).unwrap_or_default();
    Fault::new(format!("{error}{reason}"))
}
