//! The configuration of diffusers' `UNet2DModel`, with its field names and its defaults.

use super::Unet;
use crate::{
    error::{Error, Result},
    nets::{Classes, Config, Network},
    params::ParamBuilder,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// `config.json` of a `UNet2DModel`. A field that a file lacks takes the library's default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // the names are the library's, and so is their documentation
pub struct UnetConfig {
    pub sample_size: Option<SampleSize>,
    pub in_channels: usize,
    pub out_channels: usize,
    pub center_input_sample: bool,
    pub time_embedding_type: String,
    pub time_embedding_dim: Option<usize>,
    pub freq_shift: f64,
    pub flip_sin_to_cos: bool,
    pub down_block_types: Vec<String>,
    pub mid_block_type: Option<String>,
    pub up_block_types: Vec<String>,
    pub block_out_channels: Vec<usize>,
    pub layers_per_block: usize,
    pub mid_block_scale_factor: f64,
    pub downsample_padding: usize,
    pub downsample_type: String,
    pub upsample_type: String,
    pub dropout: f64,
    pub act_fn: String,
    pub attention_head_dim: Option<usize>,
    pub norm_num_groups: usize,
    pub attn_norm_num_groups: Option<usize>,
    pub norm_eps: f64,
    pub resnet_time_scale_shift: String,
    pub add_attention: bool,
    pub class_embed_type: Option<String>,
    pub num_class_embeds: Option<usize>,
    /// Ours, which diffusers passes over: the last of `num_class_embeds` stands for no class.
    #[serde(rename = "_null_class", skip_serializing_if = "std::ops::Not::not")]
    pub null_class: bool,
    pub num_train_timesteps: Option<usize>,
    /// Whatever else a file holds; only names that start with `_` and empty values are accepted.
    #[serde(flatten, skip_serializing)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// Height and width a network was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SampleSize {
    /// Both alike.
    Square(usize),
    /// Height, width.
    Sides([usize; 2]),
}

impl SampleSize {
    /// Height and width.
    pub fn sides(self) -> (usize, usize) {
        match self {
            SampleSize::Square(side) => (side, side),
            SampleSize::Sides([height, width]) => (height, width),
        }
    }
}

impl Default for UnetConfig {
    fn default() -> Self {
        let names = |names: [&str; 4]| names.map(String::from).to_vec();
        UnetConfig {
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: "positional".into(),
            time_embedding_dim: None,
            freq_shift: 0.0,
            flip_sin_to_cos: true,
            down_block_types: names([
                "DownBlock2D",
                "AttnDownBlock2D",
                "AttnDownBlock2D",
                "AttnDownBlock2D",
            ]),
            mid_block_type: Some("UNetMidBlock2D".into()),
            up_block_types: names(["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]),
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: "conv".into(),
            upsample_type: "conv".into(),
            dropout: 0.0,
            act_fn: "silu".into(),
            attention_head_dim: Some(8),
            norm_num_groups: 32,
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: "default".into(),
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            null_class: false,
            num_train_timesteps: None,
            other: BTreeMap::new(),
        }
    }
}

impl UnetConfig {
    /// What diffusers calls it.
    pub const CLASS: &str = "UNet2DModel";

    /// Width of the time embedding after its two layers.
    pub fn time_width(&self) -> usize {
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels.first().unwrap_or(&0))
    }

    /// Rows of the table of times, where it is learnt.
    pub(super) fn learnt_times(&self) -> Option<usize> {
        let rows = || self.num_train_timesteps.unwrap_or_default();
        (self.time_embedding_type == "learned").then(rows)
    }

    /// Whether a residual block halves the resolution after a level, instead of a convolution.
    pub(super) fn resnet_down(&self, level: usize) -> bool {
        match self.down_block_types[level].as_str() {
            "ResnetDownsampleBlock2D" => true,
            name => name.starts_with("Attn") && self.downsample_type == "resnet",
        }
    }

    /// Whether a residual block doubles the resolution after a step of the way up.
    pub(super) fn resnet_up(&self, step: usize) -> bool {
        match self.up_block_types[step].as_str() {
            "ResnetUpsampleBlock2D" => true,
            name => name.starts_with("Attn") && self.upsample_type == "resnet",
        }
    }

    /// Whether the time scales and shifts instead of being added.
    pub(super) fn scale_shift(&self) -> bool {
        self.resnet_time_scale_shift == "scale_shift"
    }

    /// Refuses what cannot be built, by name, with what is supported.
    pub fn check(&self) -> Result<()> {
        self.check_names()?;
        self.check_options()?;
        self.check_widths()
    }

    fn check_names(&self) -> Result<()> {
        for (name, value) in &self.other {
            if !name.starts_with('_') && !value.is_null() {
                return Err(Error::unsupported(name, value, "leave this unknown option out"));
            }
        }
        for name in &self.down_block_types {
            let supported = ["DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"];
            one_of("down_block_types", name, &supported)?;
        }
        for name in &self.up_block_types {
            let supported = ["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"];
            one_of("up_block_types", name, &supported)?;
        }
        one_of(
            "mid_block_type",
            self.mid_block_type.as_deref().unwrap_or("null"),
            &["UNetMidBlock2D", "null"],
        )?;
        one_of("time_embedding_type", &self.time_embedding_type, &["positional", "learned"])?;
        one_of("downsample_type", &self.downsample_type, &["conv", "resnet"])?;
        one_of("upsample_type", &self.upsample_type, &["conv", "resnet"])?;
        one_of("act_fn", &self.act_fn, &["silu", "swish"])?;
        one_of(
            "resnet_time_scale_shift",
            &self.resnet_time_scale_shift,
            &["default", "scale_shift"],
        )?;
        one_of("class_embed_type", self.class_embed_type.as_deref().unwrap_or("null"), &["null"])
    }

    fn check_options(&self) -> Result<()> {
        let levels = self.block_out_channels.len();
        let refuse = |name: &str, value: String, supported: &str| {
            Err(Error::unsupported(name, value, supported))
        };
        if levels == 0 {
            return refuse("block_out_channels", "[]".into(), "at least one level");
        }
        for (name, types) in
            [("down_block_types", &self.down_block_types), ("up_block_types", &self.up_block_types)]
        {
            if types.len() != levels {
                let supported = format!("{levels} names, one per entry of block_out_channels");
                return refuse(name, format!("{types:?}"), &supported);
            }
        }
        let counts = [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("layers_per_block", self.layers_per_block),
            ("norm_num_groups", self.norm_num_groups),
            ("attn_norm_num_groups", self.attn_norm_num_groups.unwrap_or(1)),
            ("attention_head_dim", self.attention_head_dim.unwrap_or(1)),
            ("num_class_embeds", self.num_class_embeds.unwrap_or(1)),
        ];
        for (name, value) in counts {
            if value == 0 {
                return refuse(name, "0".into(), "at least 1");
            }
        }
        if self.null_class && self.num_class_embeds.is_none_or(|rows| rows < 2) {
            let value = self.num_class_embeds.map_or("null".into(), |n| n.to_string());
            return refuse("num_class_embeds", value, "at least 2, for _null_class");
        }
        if self.learnt_times() == Some(0) {
            let value = self.num_train_timesteps.map_or("null".into(), |n| n.to_string());
            let supported = "at least 1, for time_embedding_type = learned";
            return refuse("num_train_timesteps", value, supported);
        }
        if self.downsample_padding > 1 {
            return refuse("downsample_padding", self.downsample_padding.to_string(), "0, 1");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", self.dropout.to_string(), "0 <= p < 1");
        }
        if !(self.norm_eps > 0.0 && self.norm_eps.is_finite()) {
            return refuse("norm_eps", self.norm_eps.to_string(), "a positive number");
        }
        if !self.mid_block_scale_factor.is_normal() {
            return refuse(
                "mid_block_scale_factor",
                self.mid_block_scale_factor.to_string(),
                "a finite number other than 0",
            );
        }
        Ok(())
    }

    fn check_widths(&self) -> Result<()> {
        let groups = self.norm_num_groups;
        let last = self.block_out_channels.len() - 1;
        for (level, width) in self.block_out_channels.iter().enumerate() {
            if *width == 0 || width % groups != 0 {
                let supported = format!("positive multiples of norm_num_groups = {groups}");
                return Err(Error::unsupported(
                    format!("block_out_channels[{level}]"),
                    width,
                    supported,
                ));
            }
            let down = self.down_block_types[level].starts_with("Attn");
            let up = self.up_block_types[last - level].starts_with("Attn");
            let mid = level == last && self.mid_block_type.is_some() && self.add_attention;
            let head = self.attention_head_dim.unwrap_or(*width);
            if (down || up || mid) && width % head != 0 {
                let supported = format!("divisors of the attended width {width}");
                return Err(Error::unsupported("attention_head_dim", head, supported));
            }
            let attended = self.attn_norm_num_groups.unwrap_or(groups);
            if mid && width % attended != 0 {
                let supported = format!("divisors of the middle width {width}");
                return Err(Error::unsupported("attn_norm_num_groups", attended, supported));
            }
        }
        let half = (self.block_out_channels[0] / 2) as f64;
        if !(self.freq_shift.is_finite() && self.freq_shift < half) {
            return Err(Error::unsupported(
                "freq_shift",
                self.freq_shift,
                format!("below {half}, half the first width"),
            ));
        }
        Ok(())
    }
}

impl Config for UnetConfig {
    fn class() -> Option<&'static str> {
        Some(UnetConfig::CLASS)
    }

    fn about() -> &'static str {
        "diffusers' UNet2DModel, with its options"
    }

    /// The networks of the documents have their names as `ddpm`.
    fn presets() -> Vec<(&'static str, Self)> {
        Vec::new()
    }

    fn network(&self, builder: &mut ParamBuilder) -> Result<Arc<dyn Network>> {
        Ok(Arc::new(Unet::new(self.clone(), builder)?))
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        let (height, width) = self.sample_size?.sides();
        Some([self.in_channels, height, width])
    }

    fn classes(&self) -> Option<Classes> {
        let null = usize::from(self.null_class);
        self.num_class_embeds.map(|rows| Classes::new(rows.saturating_sub(null), self.null_class))
    }

    fn to_json(&self) -> Value {
        let mut value = json!(self);
        // An integer in diffusers.
        if self.freq_shift.fract() == 0.0 {
            value["freq_shift"] = json!(self.freq_shift as i64);
        }
        value
    }
}

fn one_of(name: &str, value: &str, supported: &[&str]) -> Result<()> {
    if supported.contains(&value) {
        return Ok(());
    }
    Err(Error::unsupported(name, value, supported.join(", ")))
}
