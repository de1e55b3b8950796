//! Training recipes, ready to run: the documents', and two of our own on the built-in digits. One file each
//! in `presets/`.

use crate::{Result, config::RunConfig};
use diff_core::config::{self, nearest};

/// A recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What the user types.
    pub name: &'static str,
    /// The configuration, TOML; its comments tell the published or measured results.
    pub text: &'static str,
}

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        [$(Preset { name: $name, text: include_str!(concat!("../presets/", $name, ".toml")) }),*]
    };
}

/// Every recipe.
pub const PRESETS: [Preset; 11] = presets![
    "ddim-cifar10",
    "ddim-celeba",
    "ddim-bedroom",
    "ddim-church",
    "sa-cifar10",
    "sa-celeba",
    "sa-celebahq",
    "sa-afhqv2",
    "sa-ffhq",
    "digits-classifier",
    "digits-binary",
];

impl Preset {
    /// The recipe called `name`.
    ///
    /// # Errors
    /// When there is none, with the nearest name.
    pub fn find(name: &str) -> Result<Self> {
        let found = PRESETS.into_iter().find(|preset| preset.name == name);
        Ok(found.ok_or_else(|| {
            let names = PRESETS.map(|preset| preset.name);
            let hint = nearest(name, names)
                .map_or_else(String::new, |hint| format!("; did you mean `{hint}`?"));
            diff_core::Error::argument("preset", name, format!("{}{hint}", names.join(", ")))
        })?)
    }

    /// Its first line: what it trains.
    pub fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }

    /// The configuration, with overrides.
    ///
    /// # Errors
    /// When an override does not fit.
    pub fn config(&self, overrides: &[String]) -> Result<RunConfig> {
        Ok(config::read(self.text, &format!("preset {}", self.name), overrides)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::NetworkConfig,
        data::DataConfig,
        objective::ObjectiveConfig,
        optim::{AdamConfig, Decay, Decays, EmaStart, OptimiserConfig},
    };
    use diff_core::Schedule;
    use diff_models::{
        nets::{Architecture, ClassifierSpec},
        params::ParamBuilder,
    };

    #[test]
    fn every_file_is_listed_and_its_configuration_is_possible() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/presets");
        let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
        let mut files: Vec<String> = names.map(|n| n.into_string().unwrap()).collect();
        files.sort_unstable();
        let mut listed = PRESETS.map(|preset| format!("{}.toml", preset.name));
        listed.sort_unstable();
        assert_eq!(files, listed);
        for preset in PRESETS {
            let config = preset.config(&[]).unwrap();
            config.check().unwrap();
            match &config.network {
                NetworkConfig::Denoiser(architecture) => {
                    let mut shapes = ParamBuilder::shapes_only();
                    architecture.config().network(&mut shapes).unwrap();
                    config.objective.build(&Schedule::new(&config.schedule).unwrap()).unwrap();
                }
                NetworkConfig::Classifier(spec) => {
                    spec.check().unwrap();
                    config.objective.build_classifier().unwrap();
                }
                NetworkConfig::Categorical(spec) => {
                    spec.check().unwrap();
                    let process = config.objective.categorical().unwrap().process();
                    let process = process.process(spec.levels().unwrap()).unwrap();
                    config.objective.build_categorical(&process).unwrap();
                }
            }
            assert!(preset.title().len() > 20 && !preset.title().starts_with('#'));
        }
    }

    /// Name, resolution, flip, dropout, batch, learning rate, clip, EMA, epochs, lambda: the rows of
    /// the documents' settings.
    type Row = (&'static str, usize, bool, f64, usize, f64, f64, f64, f64, Option<f64>);

    const ROWS: [Row; 9] = [
        ("ddim-cifar10", 32, true, 0.1, 128, 2e-4, 1.0, 0.9999, 10_000.0, None),
        ("ddim-celeba", 64, true, 0.1, 128, 2e-4, 1.0, 0.9999, 10_000.0, None),
        ("ddim-bedroom", 256, true, 0.0, 64, 2e-5, 0.0, 0.999, 10_000.0, None),
        ("ddim-church", 256, true, 0.0, 64, 2e-5, 0.0, 0.999, 10_000.0, None),
        ("sa-cifar10", 32, false, 0.1, 128, 2e-4, 1.0, 0.9999, 1200.0, Some(1.0)),
        ("sa-celeba", 64, true, 0.1, 128, 2e-4, 1.0, 0.9999, 1200.0, Some(1.0)),
        ("sa-celebahq", 256, false, 0.0, 24, 2e-5, 0.0, 0.9999, 900.0, Some(0.1)),
        ("sa-afhqv2", 64, true, 0.1, 128, 2e-4, 1.0, 0.9999, 2000.0, Some(0.2)),
        ("sa-ffhq", 64, true, 0.1, 256, 2e-4, 1.0, 0.9999, 1500.0, Some(0.5)),
    ];

    /// Training pictures: CIFAR-10, CelebA, LSUN Bedroom and Church, CelebA-HQ, AFHQv2, FFHQ.
    fn pictures(name: &str) -> f64 {
        let set = name.split_once('-').map_or(name, |(_, set)| set);
        match set {
            "cifar10" => 50_000.0,
            "celeba" => 162_770.0,
            "bedroom" => 3_033_042.0,
            "church" => 126_227.0,
            "celebahq" => 30_000.0,
            "afhqv2" => 15_803.0,
            "ffhq" => 70_000.0,
            other => panic!("{other}"),
        }
    }

    /// Recipes that are in no document.
    const OURS: [&str; 2] = ["digits-classifier", "digits-binary"];

    #[test]
    fn every_recipe_is_a_documents_or_known_to_be_ours() {
        let names: Vec<&str> = ROWS.iter().map(|row| row.0).chain(OURS).collect();
        assert_eq!(PRESETS.map(|preset| preset.name).to_vec(), names);
    }

    #[test]
    fn the_classifier_of_digits_sees_the_training_split_as_it_is() {
        let config = Preset::find("digits-classifier").unwrap().config(&[]).unwrap();
        let data = DataConfig { source: "digits".into(), ..DataConfig::default() };
        assert_eq!(config.data, data);
        let spec = config.network.classifier().unwrap();
        assert_eq!(*spec, ClassifierSpec::new(8, 1, 10));
        assert_eq!((config.held_out.num >= 360, config.held_out.range), (true, None));
    }

    #[test]
    fn the_network_over_levels_sees_two_of_them_and_is_measured_on_all_that_is_held_out() {
        let config = Preset::find("digits-binary").unwrap().config(&[]).unwrap();
        let data = DataConfig { levels: Some(2), ..DataConfig::default() };
        assert_eq!(config.data, data);
        assert_eq!(config.network.categorical().unwrap().levels().unwrap(), 2);
        assert_eq!(config.objective.categorical().unwrap().timesteps, 50);
        assert!(config.held_out.num >= 360);
    }

    #[test]
    fn the_settings_are_the_documents() {
        for (name, resolution, flip, dropout, batch, lr, clip, ema, epochs, lambda) in ROWS {
            let config = Preset::find(name).unwrap().config(&[]).unwrap();
            let Ok(Architecture::Ddpm(network)) = config.network.denoiser() else {
                panic!("{name}")
            };
            assert_eq!((network.resolution, network.dropout), (resolution, dropout), "{name}");
            let train = &config.train;
            assert_eq!((train.batch, train.lr, train.clip), (batch, lr, clip), "{name}");
            assert_eq!(train.ema, Decays(vec![ema]), "{name}");
            assert_eq!((train.decay, train.warmup), (Decay::Constant, 0), "{name}");
            assert!(train.antithetic && config.data.flip == flip, "{name}");
            assert_eq!(train.optimiser, OptimiserConfig::Adam(AdamConfig::default()), "{name}");
            let seen = train.steps as f64 * batch as f64;
            assert!((seen / pictures(name) - epochs).abs() < 1e-3 * epochs, "{name}");
            let start = if lambda.is_some() { EmaStart::FirstStep } else { EmaStart::Initial };
            assert_eq!(train.ema_start, start, "{name}");
            match (&config.objective, lambda) {
                (ObjectiveConfig::Simple(_), None) => {}
                (ObjectiveConfig::Sa(sa), Some(lambda)) => {
                    assert_eq!((sa.steps, sa.lambda), (2, lambda), "{name}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_override_reaches_a_preset_and_an_unknown_name_gets_a_hint() {
        let preset = Preset::find("sa-cifar10").unwrap();
        let simple = "objective = { kind = \"simple\" }".to_string();
        let config = preset.config(&[simple, "train.batch=64".into()]).unwrap();
        assert_eq!(config.train.batch, 64);
        assert!(matches!(config.objective, ObjectiveConfig::Simple(_)));
        let message = Preset::find("sa-cifar").unwrap_err().to_string();
        assert!(message.contains("did you mean `sa-cifar10`"), "{message}");
    }
}
