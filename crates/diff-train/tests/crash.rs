//! Every operation on a file fails once, and once it fails with all that follow, as if the machine
//! had lost its power there. Whatever is left, the run goes on from the newest complete checkpoint
//! and comes out as if nothing had happened.

#![cfg(test)]

use candle_core::Device;
use diff_core::{config, save};
use diff_train::{
    Result, Store,
    config::RunConfig,
    run::{self, Start, Summary},
    stop::Stop,
};
use std::{cell::Cell, fs, io, path::Path, rc::Rc};

const SMALL: &str = r#"
[network]
kind = "ddpm"
resolution = 8
in_channels = 1
out_channels = 1
channels = 4
multipliers = [1]
blocks = 1
attention_resolutions = []
norm_groups = 2

[train]
steps = 3
batch = 2
ema = [0.9, 0.5]
log_every = 2

[save]
every = 2
last = 1
keep_every = 4
"#;

fn recipe(out: &Path) -> RunConfig {
    let mut config: RunConfig = config::parse(SMALL.parse().unwrap(), "test").unwrap();
    config.out = Some(out.to_path_buf());
    config
}

fn train(config: &RunConfig, start: Start) -> Result<Summary> {
    run::run(config, start, &Device::Cpu, &Stop::new(), &mut [])
}

/// Trains as a user would who only knows that the folder is there.
fn go_on(out: &Path) -> Summary {
    match out.join("config.toml").exists() {
        true => train(&run::resumed(out, &[]).unwrap(), Start::Resume).unwrap(),
        false => train(&recipe(out), Start::Fresh).unwrap(),
    }
}

fn result(out: &Path) -> Vec<Vec<u8>> {
    let files = [
        "model/unet/diffusion_pytorch_model.safetensors",
        "model-ema-0.5/unet/diffusion_pytorch_model.safetensors",
        "checkpoints/0000000006/training/state.safetensors",
        "milestones/0000000004/unet/diffusion_pytorch_model.safetensors",
    ];
    files.iter().map(|file| fs::read(out.join(file)).unwrap()).collect()
}

/// Makes operation number `failing` fail, and those after it too if `dead`. Returns what the run
/// came to, and whether the operation was reached.
fn fail_at(failing: usize, dead: bool, out: &Path) -> (Result<Summary>, bool) {
    let count = Rc::new(Cell::new(0));
    let seen = count.clone();
    let observation = save::observe(move |_, _| {
        seen.set(seen.get() + 1);
        match seen.get() == failing || (dead && seen.get() > failing) {
            true => Err(io::Error::new(io::ErrorKind::StorageFull, "injected fault")),
            false => Ok(()),
        }
    });
    let summary = train(&recipe(out), Start::Fresh);
    drop(observation);
    (summary, count.get() >= failing)
}

/// In memory where the system has such a place: thousands of fsyncs wait for a disk.
fn temporary() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn matrix(dead: bool) {
    let folder = temporary();
    let straight = folder.path().join("straight");
    train(&recipe(&straight), Start::Fresh).unwrap();
    let expected = result(&straight);
    let mut faults = 0;
    for failing in 1.. {
        let out = folder.path().join(failing.to_string());
        let (summary, reached) = fail_at(failing, dead, &out);
        if !reached {
            assert!(summary.is_ok());
            break;
        }
        faults += 1;
        // What is there is complete, or there is nothing: never something that only looks so.
        let newest = Store::new(&out).newest().unwrap();
        assert!(newest.is_none_or(|newest| newest.damaged.is_empty()), "operation {failing}");
        if let Err(error) = summary {
            let error = format!("{:#}", anyhow::Error::from(error));
            assert!(error.contains(out.to_str().unwrap()), "operation {failing}: {error}");
        } else {
            assert!(!dead, "operation {failing}: nothing could be written, and nothing was said");
        }
        assert_eq!(go_on(&out).steps, 3, "operation {failing}");
        assert!(result(&out) == expected, "operation {failing}: another result");
        fs::remove_dir_all(&out).unwrap();
    }
    assert!(faults > 150, "only {faults} operations: what was tested?");
}

#[test]
fn a_fault_at_any_operation_costs_nothing_but_the_steps_since_the_last_checkpoint() {
    matrix(false);
}

#[test]
fn a_crash_at_any_operation_costs_nothing_but_the_steps_since_the_last_checkpoint() {
    matrix(true);
}

#[test]
fn a_checkpoint_that_cannot_be_saved_names_itself_and_the_bytes_it_needs() {
    let folder = temporary();
    let out = folder.path().join("run");
    let messages: Vec<String> = (1..200)
        .filter_map(|failing| {
            let _ = fs::remove_dir_all(&out);
            Some(format!("{:#}", anyhow::Error::from(fail_at(failing, false, &out).0.err()?)))
        })
        .collect();
    let saves = messages.iter().filter(|m| m.contains("the checkpoint of "));
    let saves: Vec<_> = saves.inspect(|m| assert!(m.contains("injected fault"), "{m}")).collect();
    assert!(saves.len() > 50, "{messages:?}");
    assert!(
        saves[0].contains("checkpoints/0000000002") && saves[0].contains(" bytes"),
        "{}",
        saves[0]
    );
}

#[test]
fn two_processes_do_not_train_in_one_folder() {
    let folder = temporary();
    let held = fs::File::create(folder.path().join(".lock")).unwrap();
    held.lock().unwrap();
    let error = train(&recipe(folder.path()), Start::Fresh).unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
    drop(held);
    train(&recipe(folder.path()), Start::Fresh).unwrap();
}
