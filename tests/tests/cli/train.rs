//! What a training run leaves on its way.

use super::{json, run, trained};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufReader,
    path::Path,
};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

fn png(path: &Path) -> png::Reader<BufReader<File>> {
    png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap()
}

/// Width and height of a PNG.
pub(super) fn picture(path: &Path) -> (u32, u32) {
    png(path).info().size()
}

/// The bytes of a PNG's pixels.
pub(super) fn pixels(path: &Path) -> Vec<u8> {
    let mut reader = png(path);
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut bytes).unwrap();
    bytes
}

fn weights(folder: &Path) -> BTreeMap<String, Vec<f32>> {
    let path = folder.join("unet/diffusion_pytorch_model.safetensors");
    let tensors = candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap();
    let values = |x: candle_core::Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    tensors.into_iter().map(|(name, x)| (name, values(x))).collect()
}

#[test]
fn milestones_previews_and_held_out_losses_come_when_they_are_due() {
    let folder = trained();
    let settings = "--set save.keep_every=32 --set save.every=24 --set preview.every=48 \
         --set preview.num=9 --set preview.steps=4 --set held_out.every=32 \
         --set held_out.num=50 --set train.ema=[0.9,0.0]";
    let line = |out: &str, more: &str| {
        format!("diff-train run --config %/tiny.toml {settings} {more} --set out=%/{out} --json")
    };
    json(folder, &line("watched", ""));
    let out = folder.join("watched");
    let milestones = ["0000000032", "0000000032-ema-0", "0000000064", "0000000064-ema-0"];
    let last = ["0000000096", "0000000096-ema-0"];
    assert_eq!(names(&out.join("milestones")), [&milestones[..], &last[..]].concat());
    assert_eq!(names(&out.join("checkpoints")), ["0000000072", "0000000096"]);
    assert_eq!(names(&out.join("previews")), ["0000000048.png", "0000000096.png"]);

    // A preview is what the sampler makes of the milestone of that moment.
    let sample = "diff-sample generate --checkpoint %/watched/milestones/0000000096 --sampler ddim \
         --steps 4 --num 9 --seed 0 --out %/sampled.png";
    let output = run(folder, sample);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let preview = pixels(&out.join("previews/0000000096.png"));
    assert!(preview == pixels(&folder.join("sampled.png")));
    assert!(preview != pixels(&out.join("previews/0000000048.png")));

    // The last milestone is the model; a decay of 0 is the weights as they are.
    assert!(weights(&out.join("model")) == weights(&out.join("milestones/0000000096")));
    assert!(weights(&out.join("model-ema-0")) != weights(&out.join("model")));

    let log = fs::read_to_string(out.join("log.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let held_out: Vec<Value> = lines.filter(|line| line.get("held_out").is_some()).collect();
    let images: Vec<u64> = held_out.iter().map(|l| l["images"].as_u64().unwrap()).collect();
    assert_eq!(images, [32, 64, 96]);
    assert!(held_out.iter().all(|l| l["pictures"] == 50 && l["held_out"].as_f64().unwrap() > 0.0));
    // Looking must not change the course of a run.
    let plain = weights(&folder.join("base/model"));
    assert!(weights(&out.join("model")) == plain);
}

#[test]
fn what_the_network_sees_of_a_picture_is_undone_when_samples_leave() {
    let folder = trained();
    let line = "diff-train run --config %/tiny.toml --set data.transform=logit --set train.steps=2 \
         --set preview.every=16 --set preview.num=4 --set preview.steps=4 --set out=%/logit --json";
    json(folder, line);
    let about = json(folder, "diff-models inspect %/logit --json");
    assert_eq!(about["metadata"]["diff.transform"], "logit");
    let sample = |run: &str| {
        let line = format!(
            "diff-sample generate --checkpoint %/{run} --sampler ddim --steps 4 --num 4 --json"
        );
        json(folder, &format!("{line} --f32 --out %/{run}-raw.npz"));
        json(folder, &format!("{line} --out %/{run}-raw.png"));
        super::array(&folder.join(format!("{run}-raw.npz")), "raw").1
    };
    let bounded = |values: &[f64]| values.iter().all(|v| (-1.0..=1.0).contains(v));
    assert!(bounded(&sample("logit")) && !bounded(&sample("base")));
    assert!(
        pixels(&folder.join("logit/previews/0000000016.png"))
            == pixels(&folder.join("logit-raw.png"))
    );
}

#[test]
fn a_run_can_start_from_other_weights_of_the_same_network() {
    let folder = trained();
    let line = "diff-train run --config %/tiny.toml --init-from %/base --set train.steps=1 --set \
         train.lr=1e-12 --set train.ema=0 --set out=%/tuned --json";
    json(folder, line);
    let (base, tuned) = (weights(&folder.join("base/model")), weights(&folder.join("tuned/model")));
    let apart = |name: &String| {
        let pairs = base[name].iter().zip(&tuned[name]);
        pairs.map(|(a, b)| (a - b).abs()).fold(0f32, f32::max)
    };
    assert!(base.keys().map(apart).fold(0f32, f32::max) < 1e-6);
    let about = json(folder, "diff-models inspect %/tuned --json");
    assert!(about.to_string().contains("diff.init_from"), "{about}");

    let wider = "diff-train run --config %/tiny.toml --init-from %/base --set network.channels=16 \
         --set out=%/misfit";
    let output = run(folder, wider);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("init_from = ") && message.contains("conv_in.weight"), "{message}");
    assert!(!folder.join("misfit").exists());
}

#[test]
fn numbers_that_stop_being_numbers_stop_the_run_with_all_there_is_to_know() {
    let folder = trained();
    let line = "diff-train run --config %/tiny.toml --set train.lr=1e30 --set train.clip=0 --set \
         save.every=8 --set out=%/broken";
    let output = run(folder, line);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for word in ["step 2: the loss is not finite", "time steps ", "largest parameter "] {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
    assert!(!folder.join("broken/model").exists());
    let unfinished = run(folder, "diff-models inspect %/broken");
    let message = String::from_utf8_lossy(&unfinished.stderr);
    assert!(message.contains("not finished") && message.contains("checkpoints/"), "{message}");
    json(folder, "diff-models inspect %/broken/checkpoints/0000000008 --json");
    assert_eq!(names(&folder.join("broken/checkpoints")), ["0000000008"]);
}

#[test]
fn a_run_that_is_impossible_writes_nothing() {
    let folder = trained();
    for settings in [
        "--set held_out.every=8 --set held_out.range=[0,9]",
        "--set preview.every=8 --set preview.steps=1001",
        "--set train.accumulate=9",
        "--set train.ema=[0.9,0.9]",
        "--set train.optimiser.kind=adagrad --set train.optimiser.beta1=0.5",
        "--set data.source=/no/such/folder",
        "--set data.held_out=1",
    ] {
        let output = run(
            folder,
            &format!("diff-train run --config %/tiny.toml {settings} --set out=%/impossible"),
        );
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{settings}: {message}");
        assert!(!folder.join("impossible").exists(), "{settings}");
    }
}

#[test]
fn presets_are_listed_printed_and_planned() {
    let folder = trained();
    let list = json(folder, "diff-train presets --json");
    let names: Vec<&str> =
        list["presets"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"sa-cifar10") && names.len() >= 9, "{names:?}");
    let text = String::from_utf8(run(folder, "diff-train presets sa-cifar10").stdout).unwrap();
    assert!(text.contains("Published") && text.contains("30.51"), "{text}");
    // On pictures that are here; the recipe's own are elsewhere.
    let line = "diff-train run --preset sa-cifar10 --set data.source=digits --set network.resolution=8 \
         --set network.in_channels=1 --set network.out_channels=1 --set network.channels=32 \
         --set network.multipliers=[1] --set network.attention_resolutions=[] --set train.steps=1 --set train.batch=2 --dry-run --json";
    let plan = json(folder, line);
    assert_eq!(plan["config"]["objective"]["lambda"], 1.0);
    let unknown = run(folder, "diff-train presets sa-cifar");
    assert_eq!(unknown.status.code(), Some(2));
}
