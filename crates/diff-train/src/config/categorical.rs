//! What goes with a network over levels.

use super::RunConfig;
use crate::Result;
use diff_core::{Error, ScheduleSpec};
use diff_models::nets::CategoricalSpec;

/// Refuses what does not go with `spec`, by name; the objective is known to be the right kind.
pub(super) fn check(config: &RunConfig, spec: &CategoricalSpec) -> Result<()> {
    let levels = spec.check().and_then(|()| spec.levels()).map_err(|e| match e {
        diff_models::Error::Unsupported { name, value, supported } => {
            Error::argument(format!("network.{name}"), value, supported).into()
        }
        other => crate::Error::from(other),
    })?;
    let refuse = |name: &str, value: String, expected: String| -> Result<()> {
        Err(Error::argument(name, value, expected).into())
    };
    if config.data.levels != Some(levels) {
        let given = config.data.levels.map_or("nothing".into(), |levels| levels.to_string());
        let expected = format!("{levels}, the channels of network.body");
        return refuse("data.levels", given, expected);
    }
    for (name, on) in
        [("data.dequantise", config.data.dequantise), ("data.gaussian", config.data.gaussian)]
    {
        if on {
            let expected = "false: pictures of network.kind = categorical have levels alone";
            return refuse(name, "true".into(), expected.into());
        }
    }
    if config.schedule != ScheduleSpec::default() {
        let given = config.schedule.kind.to_string();
        let expected = "no schedule: that of network.kind = categorical is in [objective], process \
                        and timesteps";
        return refuse("schedule.kind", given, expected.into());
    }
    let objective = config.objective.categorical()?;
    objective.process().process(levels).map(|_| ()).map_err(|e| match e {
        Error::Argument { name, value, expected } => {
            Error::argument(format!("objective.{name}"), value, expected).into()
        }
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(overrides: &[&str]) -> String {
        let text = "[data]\nlevels = 2\n[objective]\nkind = 'categorical'\n[network]\n\
                    kind = 'categorical'\n[network.body]\nkind = 'ddpm'\nin_channels = 2\n\
                    out_channels = 2";
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        let config: RunConfig = diff_core::config::read(text, "test", &overrides).unwrap();
        config.check().map_or_else(|e| e.to_string(), |()| String::new())
    }

    #[test]
    fn what_does_not_go_with_levels_is_refused_by_name() {
        assert_eq!(refused(&[]), "");
        assert_eq!(refused(&["objective.timesteps=1", "objective.stay=0.5"]), "");
        for (overrides, words) in [
            (["data.levels=3"].as_slice(), ["data.levels = 3", "2, the channels"]),
            (&["data={}"], ["data.levels = nothing", "2, the channels"]),
            (&["data.gaussian=true"], ["data.gaussian = true", "false"]),
            (&["data.transform='logit'"], ["data.transform = logit", "rescaled"]),
            (&["preview.every=5"], ["preview.every = 5", "network.kind = categorical"]),
            (&["schedule.timesteps=50"], ["schedule.kind = linear", "[objective]"]),
            (&["objective.timesteps=0"], ["objective.timesteps = 0", "1.."]),
            (&["objective={ kind = 'simple' }"], ["objective.kind = simple", "categorical, which"]),
            (&["network={ kind = 'ddpm' }"], ["objective.kind = categorical", "simple, sa"]),
            (&["network.body.out_channels=3"], ["network.body.out_channels = 3", "2, as many"]),
            (&["network.body.classes=3"], ["network.body.classes = some", "none"]),
            (&["network.body={ kind = 'adm' }"], ["network.body.kind = adm", "ddpm, unet"]),
            (
                &["network.body.in_channels=17", "network.body.out_channels=17"],
                ["network.body.in_channels = 17", "2 to 16"],
            ),
        ] {
            let message = refused(overrides);
            for word in words {
                assert!(message.contains(word), "{word} is not in {message}");
            }
        }
    }
}
