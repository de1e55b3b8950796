//! State dicts of ermongroup/ddim's `Model` through the key map. The fixtures were made by
//! `tests/golden/ermongroup.py`; the `fill` values were computed with the same class.

#![allow(clippy::unwrap_used)] // a test

mod common;

use candle_core::{Device, Shape, Tensor};
use common::{fill, norm, relative, scatter, values, wave};
use diff_models::{
    Condition, Context,
    checkpoint::{Checkpoint, write_tensors},
};
use std::{collections::HashMap, path::Path};

/// The network in that project's terms.
struct Model {
    ch: usize,
    mult: &'static [usize],
    blocks: usize,
    attention_levels: &'static [usize],
}

impl Model {
    /// Names and shapes of its state dict.
    fn shapes(&self) -> Vec<(String, Shape)> {
        let (ch, temb, levels) = (self.ch, 4 * self.ch, self.mult.len());
        let width = |level: usize| ch * self.mult[level];
        let below = |level: usize| if level == 0 { ch } else { width(level - 1) };
        let mut list = List(Vec::new());
        list.add("temb.dense.0", &[temb, ch]);
        list.add("temb.dense.1", &[temb, temb]);
        list.add("conv_in", &[ch, 3, 3, 3]);
        let mut hidden = ch;
        for level in 0..levels {
            for r in 0..self.blocks {
                list.block(&format!("down.{level}.block.{r}"), hidden, width(level), temb);
                hidden = width(level);
                if self.attention_levels.contains(&level) {
                    list.attention(&format!("down.{level}.attn.{r}"), hidden);
                }
            }
            if level + 1 < levels {
                list.add(&format!("down.{level}.downsample.conv"), &[hidden, hidden, 3, 3]);
            }
        }
        list.block("mid.block_1", hidden, hidden, temb);
        list.attention("mid.attn_1", hidden);
        list.block("mid.block_2", hidden, hidden, temb);
        for level in (0..levels).rev() {
            for r in 0..=self.blocks {
                let skip = if r == self.blocks { below(level) } else { width(level) };
                list.block(&format!("up.{level}.block.{r}"), hidden + skip, width(level), temb);
                hidden = width(level);
                if self.attention_levels.contains(&level) {
                    list.attention(&format!("up.{level}.attn.{r}"), hidden);
                }
            }
            if level > 0 {
                list.add(&format!("up.{level}.upsample.conv"), &[hidden, hidden, 3, 3]);
            }
        }
        list.add("norm_out", &[hidden]);
        list.add("conv_out", &[3, hidden, 3, 3]);
        list.0
    }
}

struct List(Vec<(String, Shape)>);

impl List {
    fn add(&mut self, name: &str, weight: &[usize]) {
        self.0.push((format!("{name}.weight"), Shape::from(weight)));
        self.0.push((format!("{name}.bias"), Shape::from(weight[0])));
    }

    fn block(&mut self, name: &str, inputs: usize, outputs: usize, temb: usize) {
        self.add(&format!("{name}.norm1"), &[inputs]);
        self.add(&format!("{name}.conv1"), &[outputs, inputs, 3, 3]);
        self.add(&format!("{name}.temb_proj"), &[outputs, temb]);
        self.add(&format!("{name}.norm2"), &[outputs]);
        self.add(&format!("{name}.conv2"), &[outputs, outputs, 3, 3]);
        if inputs != outputs {
            self.add(&format!("{name}.nin_shortcut"), &[outputs, inputs, 1, 1]);
        }
    }

    fn attention(&mut self, name: &str, width: usize) {
        self.add(&format!("{name}.norm"), &[width]);
        for part in ["q", "k", "v", "proj_out"] {
            self.add(&format!("{name}.{part}"), &[width, width, 1, 1]);
        }
    }
}

/// Opens `weights` from a state dict file and runs the network once.
fn forward(weights: &HashMap<String, Tensor>, x: &Tensor, times: &[f64]) -> Vec<f64> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let tensors: Vec<_> = weights.iter().map(|(n, t)| (n.clone(), t.clone())).collect();
    write_tensors(&path, &tensors).unwrap();
    let checkpoint = Checkpoint::open(path.to_str().unwrap(), &Device::Cpu).unwrap();
    let nothing = Condition::default();
    values(
        &checkpoint.denoiser.network().forward_network(x, times, &nothing, &Context::Eval).unwrap(),
    )
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn the_class_itself_agrees() {
    let model = Model { ch: 32, mult: &[1, 1, 2], blocks: 1, attention_levels: &[1] };
    let out = forward(&scatter(&model.shapes()), &wave(&[2, 3, 16, 16], 0.11, 0.0), &[3.0, 17.0]);
    let golden =
        candle_core::safetensors::load(fixture("ermongroup.safetensors"), &Device::Cpu).unwrap();
    let error = relative(&out, &values(&golden["out"]));
    assert!(error < 1e-5, "{error}");
}

#[test]
fn a_prefixed_half_precision_archive_is_read() {
    let path = fixture("ermongroup_small.pth");
    let checkpoint = Checkpoint::open(path.to_str().unwrap(), &Device::Cpu).unwrap();
    let model = Model { ch: 32, mult: &[1], blocks: 1, attention_levels: &[] };
    let expected = scatter(&model.shapes());
    assert_eq!(checkpoint.params.len(), expected.len());
    for (ours, theirs) in [
        ("mid_block.attentions.0.to_k.weight", "mid.attn_1.k.weight"),
        ("up_blocks.0.resnets.1.conv_shortcut.weight", "up.0.block.1.nin_shortcut.weight"),
        ("time_embedding.linear_2.bias", "temb.dense.1.bias"),
    ] {
        let error =
            relative(&values(checkpoint.params.get(ours).unwrap()), &values(&expected[theirs]));
        assert!(error < 1e-3, "{ours}: {error}");
    }
}

/// The table's elements 0, 1, 100, n/2, n-1, then mean and norm, to 2e-4.
fn check_table(out: &[f64], expected: [f64; 7]) {
    let n = out.len();
    let mean = out.iter().sum::<f64>() / n as f64;
    let found = [out[0], out[1], out[100], out[n / 2], out[n - 1], mean, norm(out)];
    for (found, expected) in found.into_iter().zip(expected) {
        assert!((found - expected).abs() < 2e-4, "{found} {expected}");
    }
}

#[test]
fn the_small_network_of_the_table() {
    let model = Model { ch: 32, mult: &[1, 2], blocks: 1, attention_levels: &[1] };
    let shapes = model.shapes();
    assert_eq!(shapes.len(), 144);
    let out = forward(&fill(&shapes), &wave(&[2, 3, 16, 16], 0.11, 0.0), &[3.0, 17.0]);
    check_table(&out, [0.061768, 0.058592, 0.257412, 0.016608, 0.015484, 0.010036, 4.84016]);
}

#[test]
fn the_cifar10_network_of_the_table() {
    let model = Model { ch: 128, mult: &[1, 2, 2, 2], blocks: 2, attention_levels: &[1] };
    let shapes = model.shapes();
    assert_eq!(shapes.len(), 328);
    let out = forward(&fill(&shapes), &wave(&[1, 3, 32, 32], 0.11, 0.0), &[500.0]);
    check_table(&out, [0.072906, 0.125996, -0.066976, 0.001307, -0.042231, 0.017250, 3.16136]);
}
