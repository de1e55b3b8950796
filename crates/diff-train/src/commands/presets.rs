use clap::Args;
use diff_train::presets::{PRESETS, Preset};
use serde_json::json;
use std::io::{self, Write};

#[derive(Args)]
pub(crate) struct PresetsArgs {
    /// Print this recipe's configuration instead of the list.
    name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Lists the recipes, or prints one.
pub(crate) fn presets(args: &PresetsArgs) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if let Some(name) = &args.name {
        let preset = Preset::find(name)?;
        match args.json {
            true => writeln!(out, "{}", serde_json::to_string(&preset.config(&[])?)?)?,
            false => write!(out, "{}", preset.text)?,
        }
        return Ok(());
    }
    if args.json {
        let all = PRESETS.map(|preset| json!({"name": preset.name, "about": preset.title()}));
        writeln!(out, "{}", json!({ "presets": all }))?;
        return Ok(());
    }
    for preset in PRESETS {
        writeln!(out, "{:17} {}", preset.name, preset.title())?;
    }
    Ok(())
}
