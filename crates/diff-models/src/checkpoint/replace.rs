//! Replacing a whole folder.

use crate::error::{Error, Result};
use diff_core::save::{io_error, sync_folder};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Fills a scratch folder beside `target` and renames it into place. A folder in the way is set
/// aside first and removed last, and only if it holds nothing but entries named in `own`.
pub(super) fn folder(
    target: &Path,
    own: &[&str],
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    check_replaceable(target, own)?;
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    fs::create_dir_all(&parent).map_err(io_error(&parent, "create folder"))?;
    let scratch = sibling(target, "tmp")?;
    remove(&scratch)?;
    fs::create_dir(&scratch).map_err(io_error(&scratch, "create folder"))?;
    let moved = fill(&scratch)
        .and_then(|()| Ok(sync_tree(&scratch)?))
        .and_then(|()| move_into_place(&scratch, target));
    if moved.is_err() {
        // The first error is the one to report; a scratch folder that stays is harmless.
        let _ = fs::remove_dir_all(&scratch);
    }
    moved?;
    Ok(sync_folder(&parent)?)
}

fn check_replaceable(target: &Path, own: &[&str]) -> Result<()> {
    if !target.exists() {
        return Ok(());
    }
    let entries = fs::read_dir(target).map_err(io_error(target, "list"))?;
    for entry in entries {
        let name = entry.map_err(io_error(target, "list"))?.file_name();
        if !own.iter().any(|own| name.to_str() == Some(own)) {
            let name = name.to_string_lossy();
            return Err(Error::file(target, format!("not replaced: it also holds `{name}`")));
        }
    }
    Ok(())
}

fn move_into_place(scratch: &Path, target: &Path) -> Result<()> {
    let aside = sibling(target, "old")?;
    remove(&aside)?;
    let occupied = target.exists();
    if occupied {
        fs::rename(target, &aside).map_err(io_error(target, "set aside"))?;
    }
    if let Err(e) = fs::rename(scratch, target) {
        if occupied {
            let _ = fs::rename(&aside, target);
        }
        return Err(io_error(target, "rename into place")(e).into());
    }
    remove(&aside)
}

fn sync_tree(folder: &Path) -> diff_core::Result<()> {
    for entry in fs::read_dir(folder).map_err(io_error(folder, "list"))? {
        let path = entry.map_err(io_error(folder, "list"))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        }
    }
    sync_folder(folder)
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(io_error(folder, "remove"))?;
    }
    Ok(())
}

fn sibling(target: &Path, suffix: &str) -> Result<PathBuf> {
    let Some(name) = target.file_name() else {
        return Err(Error::file(target, "is no name for a checkpoint folder"));
    };
    let name = name.to_string_lossy();
    Ok(target.with_file_name(format!(".{name}.{}.{suffix}", std::process::id())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(target: &Path, text: &str) -> Result<()> {
        folder(target, &["a"], |scratch| {
            fs::write(scratch.join("a"), text).unwrap();
            Ok(())
        })
    }

    #[test]
    fn a_folder_is_made_and_replaced_and_nothing_stays_behind() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep/model");
        for text in ["one", "two"] {
            write(&target, text).unwrap();
            assert_eq!(fs::read_to_string(target.join("a")).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path().join("deep")).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_folder() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model");
        write(&target, "old").unwrap();
        let failed = folder(&target, &["a"], |scratch| {
            fs::write(scratch.join("a"), "half").unwrap();
            Err(Error::Input("stop".into()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_with_other_files_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        let message = write(dir.path(), "new").unwrap_err().to_string();
        assert!(message.contains("thesis.tex"), "{message}");
        assert!(dir.path().join("thesis.tex").exists());
    }
}
