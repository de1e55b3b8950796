//! Checkouts of the peers' code: given, or fetched with git.

use crate::process::{command_line, last_line};
use diff_core::save::{create_folder, remove, rename};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A repository whose code scripts import.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repository {
    /// What its checkout is called.
    pub(super) folder: &'static str,
    pub(super) url: &'static str,
    /// The commit the fixtures were made at, in full: git fetches nothing by an abbreviation.
    pub(super) commit: &'static str,
    /// The modules beyond the standard library that its code imports.
    pub(super) modules: &'static [&'static str],
}

/// Where checkouts are looked for.
pub(super) struct Checkouts<'a> {
    /// A folder of the user's.
    pub(super) given: Option<&'a Path>,
    /// Where those that are not there are fetched to.
    pub(super) fetched: PathBuf,
}

impl Checkouts<'_> {
    /// The checkout of a repository, or why there is none.
    pub(super) fn find(&self, repository: &Repository) -> Result<PathBuf, String> {
        let given = self.given.map(|folder| folder.join(repository.folder));
        if let Some(checkout) = given.filter(|path| path.is_dir()) {
            if let Some(head) = head(&checkout).filter(|head| head != repository.commit) {
                let wanted = repository.commit;
                eprintln!("{}: at {head}, the fixtures are of {wanted}", checkout.display());
            }
            return Ok(checkout);
        }
        let checkout = self.fetched.join(repository.folder);
        if head(&checkout).as_deref() == Some(repository.commit) {
            return Ok(checkout);
        }
        eprintln!("fetching {} at {}", repository.url, &repository.commit[..7]);
        fetch(repository.url, repository.commit, &checkout).map_err(|why| {
            format!(
                "{why}; put a checkout of {} at {} into a folder as `{}` and name the folder with \
                 --repositories",
                repository.url, repository.commit, repository.folder
            )
        })?;
        Ok(checkout)
    }
}

/// The commit a checkout is at; none where a folder is not a checkout of its own.
fn head(checkout: &Path) -> Option<String> {
    let found = || git(checkout, &["rev-parse", "HEAD"]).ok();
    checkout.join(".git").exists().then(found)?.map(|head| head.trim().to_string())
}

/// Checks out one commit of `url`, without its history; nothing is there unless all is.
fn fetch(url: &str, commit: &str, checkout: &Path) -> Result<(), String> {
    let begun = checkout.with_extension("begun");
    let fetched = fetch_into(&begun, url, commit).and_then(|()| {
        remove(checkout).map_err(|error| error.to_string())?;
        rename(&begun, checkout).map_err(|error| format!("{}: {error}", checkout.display()))
    });
    if fetched.is_err() {
        // The first error is the one to report; what stays is cleared by the next attempt.
        let _ = remove(&begun);
    }
    fetched
}

fn fetch_into(folder: &Path, url: &str, commit: &str) -> Result<(), String> {
    let fresh = || {
        remove(folder)?;
        create_folder(folder)
    };
    fresh().map_err(|error| error.to_string())?;
    // A server that has gone silent is not waited for.
    let patience = ["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=30"];
    let fetch = ["fetch", "--quiet", "--depth", "1", url, commit];
    git(folder, &["init", "--quiet"])?;
    git(folder, &[&patience[..], &fetch[..]].concat())?;
    let checkout = ["-c", "advice.detachedHead=false", "checkout", "--quiet", "FETCH_HEAD"];
    git(folder, &checkout).map(|_| ())
}

/// What git prints in a folder. Asks nobody for passwords.
fn git(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments).env("GIT_TERMINAL_PROMPT", "0");
    // A hook that runs us has set them to its own repository.
    command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
    let line = command_line(&command);
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{line}: {e}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{line}: {}", last_line(&output.stderr))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn leak(text: String) -> &'static str {
        Box::leak(text.into_boxed_str())
    }

    /// A repository with a file `which` of two commits, and the hash of the first.
    fn example(folder: &Path) -> Repository {
        fs::create_dir_all(folder).unwrap();
        git(folder, &["init", "--quiet"]).unwrap();
        let commit = |content: &str| {
            fs::write(folder.join("which"), content).unwrap();
            git(folder, &["add", "which"]).unwrap();
            let who = ["-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "-m", "x"];
            git(folder, &who).unwrap();
            git(folder, &["rev-parse", "HEAD"]).unwrap().trim().to_string()
        };
        let first = commit("first");
        commit("second");
        let url = leak(format!("file://{}", folder.display()));
        Repository { folder: "example", url, commit: leak(first), modules: &[] }
    }

    #[test]
    fn the_pinned_commit_is_fetched_once_and_a_given_checkout_goes_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let origin = dir.path().join("origin");
        let repository = example(&origin);
        let fetched = dir.path().join("target/golden");
        let checkouts = Checkouts { given: Some(dir.path()), fetched: fetched.clone() };
        let checkout = checkouts.find(&repository).unwrap();
        assert_eq!(checkout, fetched.join("example"));
        assert_eq!(fs::read_to_string(checkout.join("which")).unwrap(), "first");

        // What is there is neither asked for nor made again; a checkout of something else is.
        fs::rename(&origin, dir.path().join("away")).unwrap();
        assert_eq!(checkouts.find(&repository).unwrap(), checkout);
        let other = Repository { commit: leak("0".repeat(40)), ..repository };
        assert!(checkouts.find(&other).is_err());

        fs::create_dir(dir.path().join("example")).unwrap();
        assert_eq!(head(&checkout).as_deref(), Some(repository.commit));
        assert_eq!(head(&dir.path().join("example")), None, "no checkout");
        assert_eq!(checkouts.find(&repository).unwrap(), dir.path().join("example"));
    }

    #[test]
    fn what_cannot_be_fetched_says_what_to_put_where_and_leaves_no_checkout() {
        let dir = tempfile::tempdir().unwrap();
        let url = leak(format!("file://{}/nothing", dir.path().display()));
        let commit = leak("1".repeat(40));
        let repository = Repository { folder: "example", url, commit, modules: &[] };
        let fetched = dir.path().join("golden");
        let reason = Checkouts { given: None, fetched: fetched.clone() }.find(&repository);
        let reason = reason.unwrap_err();
        for words in [url, commit, "`example`", "--repositories"] {
            assert!(reason.contains(words), "{reason}");
        }
        assert_eq!(fs::read_dir(fetched).unwrap().count(), 0);
    }
}
