//! Tensor names of other files, turned into those of today's diffusers.

use crate::{error::Result, nets::unet::UnetConfig};
use candle_core::Tensor;
use std::collections::{BTreeSet, HashMap};

/// Renames what older diffusers files call differently; other names pass.
pub(super) fn modern(weights: HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    const RENAMED: [(&str, &str); 6] = [
        (".query.", ".to_q."),
        (".key.", ".to_k."),
        (".value.", ".to_v."),
        (".proj_attn.", ".to_out.0."),
        (".downsamplers.0.Conv2d_0.", ".downsamplers.0.conv."),
        (".downsamplers.0.op.", ".downsamplers.0.conv."),
    ];
    weights
        .into_iter()
        .map(|(name, tensor)| {
            let renamed = RENAMED.iter().find(|(old, _)| name.contains(old));
            (renamed.map_or(name.clone(), |(old, new)| name.replace(old, new)), tensor)
        })
        .collect()
}

/// Weights as their networks name them: without the prefix of data-parallel training, and without
/// DDDM's memory of the pictures of its training.
pub(super) fn plain(weights: HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    let named = weights.into_iter().map(|(name, tensor)| (strip_module(&name).to_string(), tensor));
    named.filter(|(name, _)| name != "x_bar").collect()
}

/// True when `weights` look like the state dict of ermongroup/ddim's `Model`.
pub(super) fn is_ermongroup(weights: &HashMap<String, Tensor>) -> bool {
    weights.keys().any(|name| strip_module(name).starts_with("temb.dense."))
}

/// The configuration of ermongroup/ddim's `Model`, read off its shapes: 32 groups, eps 1e-6, one
/// head, padding only right and bottom. What shapes do not show (dropout, resolution) stays at
/// none.
pub(super) fn ermongroup_config(weights: &HashMap<String, Tensor>) -> UnetConfig {
    let names: BTreeSet<&str> = weights.keys().map(|name| strip_module(name)).collect();
    let dims = |name: &str| {
        let found = weights.iter().find(|(key, _)| strip_module(key) == name);
        found.map(|(_, tensor)| tensor.dims().to_vec()).unwrap_or_default()
    };
    let at = |name: &str, dim: usize| dims(name).get(dim).copied().unwrap_or(0);
    let count = |list: &str| {
        (0..).take_while(|i| names.iter().any(|n| n.starts_with(&format!("{list}.{i}.")))).count()
    };
    let levels = count("down");
    let attends = |side: &str, level: usize| count(&format!("{side}.{level}.attn")) > 0;
    let kind = |attends: bool, plain: &str| {
        if attends { format!("Attn{plain}") } else { plain.to_string() }
    };
    UnetConfig {
        in_channels: at("conv_in.weight", 1),
        out_channels: at("conv_out.weight", 0),
        freq_shift: 1.0,
        flip_sin_to_cos: false,
        down_block_types: (0..levels).map(|l| kind(attends("down", l), "DownBlock2D")).collect(),
        up_block_types: (0..levels).rev().map(|l| kind(attends("up", l), "UpBlock2D")).collect(),
        block_out_channels: (0..levels)
            .map(|level| at(&format!("down.{level}.block.0.conv1.weight"), 0))
            .collect(),
        layers_per_block: count("down.0.block"),
        downsample_padding: 0,
        attention_head_dim: None,
        norm_eps: 1e-6,
        ..UnetConfig::default()
    }
}

/// ermongroup/ddim's names and shapes turned into diffusers'. Names it does not know pass, to be
/// reported as unexpected.
pub(super) fn from_ermongroup(
    weights: HashMap<String, Tensor>,
    levels: usize,
) -> Result<HashMap<String, Tensor>> {
    weights
        .into_iter()
        .map(|(name, tensor)| {
            let name = ermongroup_name(strip_module(&name), levels);
            let pixelwise = [".to_q.", ".to_k.", ".to_v.", ".to_out.0."];
            let tensor = match tensor.dims() {
                [_, _, 1, 1] if pixelwise.iter().any(|part| name.contains(part)) => {
                    tensor.squeeze(3)?.squeeze(2)?
                }
                _ => tensor,
            };
            Ok((name, tensor))
        })
        .collect()
}

/// Data-parallel training prefixes every name.
fn strip_module(name: &str) -> &str {
    name.strip_prefix("module.").unwrap_or(name)
}

/// One name; networks.md (ii) has the table.
fn ermongroup_name(name: &str, levels: usize) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let block = |list: String, rest: &[&str]| {
        let rest: Vec<&str> = rest
            .iter()
            .map(|part| match *part {
                "temb_proj" => "time_emb_proj",
                "nin_shortcut" => "conv_shortcut",
                "norm" => "group_norm",
                "q" => "to_q",
                "k" => "to_k",
                "v" => "to_v",
                "proj_out" => "to_out.0",
                other => other,
            })
            .collect();
        format!("{list}.{}", rest.join("."))
    };
    let kind = |kind: &str| if kind == "attn" { "attentions" } else { "resnets" };
    match parts.as_slice() {
        ["temb", "dense", "0", rest] => format!("time_embedding.linear_1.{rest}"),
        ["temb", "dense", "1", rest] => format!("time_embedding.linear_2.{rest}"),
        ["norm_out", rest] => format!("conv_norm_out.{rest}"),
        ["before_out", rest @ ..] => block("before_out".into(), rest),
        ["mid", "block_1", rest @ ..] => block("mid_block.resnets.0".into(), rest),
        ["mid", "block_2", rest @ ..] => block("mid_block.resnets.1".into(), rest),
        ["mid", "attn_1", rest @ ..] => block("mid_block.attentions.0".into(), rest),
        ["down", level, "downsample", _, rest] => {
            format!("down_blocks.{level}.downsamplers.0.conv.{rest}")
        }
        ["down", level, part @ ("block" | "attn"), i, rest @ ..] => {
            block(format!("down_blocks.{level}.{}.{i}", kind(part)), rest)
        }
        ["up", level, part, rest @ ..] => {
            // Stored by level, run from the last level to the first.
            let level: usize = level.parse().unwrap_or(levels);
            let Some(step) = levels.checked_sub(level + 1) else { return name.to_string() };
            match (*part, rest) {
                ("upsample", [_, rest]) => format!("up_blocks.{step}.upsamplers.0.conv.{rest}"),
                ("block" | "attn", [i, rest @ ..]) => {
                    block(format!("up_blocks.{step}.{}.{i}", kind(part)), rest)
                }
                _ => name.to_string(),
            }
        }
        _ => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ermongroup_names_follow_the_table() {
        for (theirs, ours) in [
            ("temb.dense.1.bias", "time_embedding.linear_2.bias"),
            ("conv_in.weight", "conv_in.weight"),
            ("norm_out.bias", "conv_norm_out.bias"),
            ("down.1.block.0.temb_proj.weight", "down_blocks.1.resnets.0.time_emb_proj.weight"),
            ("up.0.block.2.nin_shortcut.bias", "up_blocks.3.resnets.2.conv_shortcut.bias"),
            ("up.2.attn.1.proj_out.weight", "up_blocks.1.attentions.1.to_out.0.weight"),
            ("mid.attn_1.norm.weight", "mid_block.attentions.0.group_norm.weight"),
            ("mid.block_2.norm1.bias", "mid_block.resnets.1.norm1.bias"),
            ("down.0.downsample.op.weight", "down_blocks.0.downsamplers.0.conv.weight"),
            ("up.3.upsample.conv.bias", "up_blocks.0.upsamplers.0.conv.bias"),
            ("before_out.temb_proj.bias", "before_out.time_emb_proj.bias"),
            ("conv_out2.weight", "conv_out2.weight"),
            ("logvar", "logvar"),
            ("up.9.block.0.norm1.bias", "up.9.block.0.norm1.bias"),
        ] {
            assert_eq!(ermongroup_name(theirs, 4), ours);
        }
    }
}
