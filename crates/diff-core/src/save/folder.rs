use super::{create_folder, folder_of, io_error, remove, rename, sibling, sync_folder};
use crate::error::{Error, Result};
use std::{fs, io, path::Path};

/// Fills a scratch folder beside `target` and renames it into place. A folder in the way is set
/// aside first (as `.NAME.PID.old`) and removed last, and only if it holds nothing but entries named
/// in `own`.
///
/// # Errors
/// When `target` holds other entries, or whatever `fill` or the system refuses; a folder that was
/// there is there again.
pub fn folder<E: From<Error>>(
    target: &Path,
    own: &[&str],
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    if target.file_name().is_none() {
        return Err(refused(target, "is no name for a folder".into()).into());
    }
    check_replaceable(target, own)?;
    let parent = folder_of(target);
    create_folder(&parent)?;
    let scratch = sibling(target, "tmp");
    remove(&scratch)?;
    create_folder(&scratch)?;
    let moved = fill(&scratch).and_then(|()| {
        sync_tree(&scratch)?;
        Ok(move_into_place(&scratch, target)?)
    });
    if moved.is_err() {
        // The first error is the one to report; a scratch folder that stays is harmless.
        let _ = remove(&scratch);
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
            return Err(refused(target, format!("it also holds `{name}`")));
        }
    }
    Ok(())
}

fn refused(target: &Path, reason: String) -> Error {
    io_error(target, "replace")(io::Error::new(io::ErrorKind::AlreadyExists, reason))
}

fn move_into_place(scratch: &Path, target: &Path) -> Result<()> {
    let aside = sibling(target, "old");
    remove(&aside)?;
    let occupied = target.exists();
    if occupied {
        rename(target, &aside).map_err(io_error(target, "set aside"))?;
    }
    if let Err(e) = rename(scratch, target) {
        if occupied {
            let _ = rename(&aside, target);
        }
        return Err(io_error(target, "rename into place")(e));
    }
    remove(&aside)
}

fn sync_tree(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(io_error(folder, "list"))? {
        let path = entry.map_err(io_error(folder, "list"))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        }
    }
    sync_folder(folder)
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
            Err(Error::argument("x", 1, "2"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_with_other_files_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        let error = anyhow::Error::from(write(dir.path(), "new").unwrap_err());
        assert!(format!("{error:#}").contains("thesis.tex"), "{error:#}");
        assert!(dir.path().join("thesis.tex").exists());
    }
}
