//! Disks that are full or read-only, and folders that belong to others.

use super::{binaries, json};
use std::{fs, path::Path, process::Command};

/// A network whose checkpoint takes about 0.6 MB.
const RECIPE: &str = r#"
[network]
kind = "ddpm"
resolution = 8
in_channels = 1
out_channels = 1
channels = 16
multipliers = [1]
blocks = 1
attention_resolutions = []
norm_groups = 4

[train]
steps = 6
batch = 2
log_every = 2

[save]
every = 4
last = 1
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
    folder
}

/// Runs a shell script with a disk of its own at `$D/disk`, whose mount the rest of the system does
/// not see; `None` where the system does not let us.
fn with_a_disk(folder: &Path, script: &str) -> Option<String> {
    fs::create_dir(folder.join("disk")).unwrap();
    let script = format!("set -e; mount -t tmpfs -o size=900k tmpfs \"$D/disk\"; set +e\n{script}");
    for user in [&["-m"][..], &["-r", "-m"]] {
        let mut command = Command::new("unshare");
        command.args(user).args(["sh", "-c", &script]).env("D", folder);
        command.env("DIFF_TRAIN", binaries().join("diff-train"));
        let Ok(output) = command.output() else { continue };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Some(said + &String::from_utf8_lossy(&output.stdout));
        }
        eprintln!("unshare {user:?}: {said}");
    }
    None
}

#[test]
fn a_full_disk_names_the_checkpoint_and_its_size_and_spares_the_one_before() {
    let folder = folder();
    let folder = folder.path();
    json(folder, "diff-train run --config %/recipe.toml --set out=%/straight --json");
    // The first checkpoint fits, the second one beside it does not; on a larger disk it goes on.
    let script = r#"
        "$DIFF_TRAIN" run --config "$D/recipe.toml" --set out="$D/disk/run"; echo "first: $?"
        ls -a "$D/disk/run/checkpoints"
        mount -o remount,size=9m "$D/disk"
        "$DIFF_TRAIN" run --resume "$D/disk/run"; echo "second: $?"
        cp -r "$D/disk/run" "$D/copy""#;
    let Some(said) = with_a_disk(folder, script) else {
        println!("skipped: this system does not let tests mount a small disk");
        return;
    };
    assert!(said.contains("first: 1") && said.contains("second: 0"), "{said}");
    assert!(said.contains("disk/run/checkpoints/0000000008: the checkpoint of "), "{said}");
    assert!(said.contains(" bytes could not be saved") && said.contains("No space left"), "{said}");
    assert!(said.contains("0000000004") && !said.contains(".tmp\n"), "{said}");
    let weights = "model/unet/diffusion_pytorch_model.safetensors";
    let read = |run: &str| fs::read(folder.join(run).join(weights)).unwrap();
    assert!(read("straight") == read("copy"));
}

#[test]
fn a_read_only_disk_is_named_and_its_checkpoint_untouched() {
    let folder = folder();
    let script = r#"
        set -- "$DIFF_TRAIN" run
        "$@" --config "$D/recipe.toml" --set out="$D/disk/run" --set train.steps=2; echo "first: $?"
        mount -o remount,ro "$D/disk"
        "$@" --resume "$D/disk/run" --set train.steps=4; echo "second: $?"
        mount -o remount,rw,size=9m "$D/disk"
        "$@" --resume "$D/disk/run" --set train.steps=4; echo "third: $?""#;
    let Some(said) = with_a_disk(folder.path(), script) else {
        println!("skipped: this system does not let tests mount a small disk");
        return;
    };
    let codes = ["first: 0", "second: 1", "third: 0"];
    assert!(codes.iter().all(|code| said.contains(code)), "{said}");
    assert!(said.contains("disk/run") && said.contains("Read-only file system"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_folder_of_somebody_else_is_named() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    let folder = folder();
    let parent = folder.path().join("theirs");
    fs::create_dir(&parent).unwrap();
    for (path, mode) in [(folder.path(), 0o755), (&parent, 0o555)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new(binaries().join("diff-train"));
    command.arg("run").arg("--config").arg(folder.path().join("recipe.toml"));
    command.arg("--set").arg(format!("out={}", parent.join("run").display()));
    // The superuser may write anywhere; nobody may not.
    if fs::write(parent.join("probe"), "").is_ok() {
        command.uid(65534);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(e) => {
            println!("skipped: no other user can run the binary here ({e})");
            return;
        }
    };
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("theirs/run: cannot create folder"), "{message}");
    assert!(message.contains("Permission denied"), "{message}");
}
