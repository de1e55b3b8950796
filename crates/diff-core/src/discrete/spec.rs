use super::CategoricalProcess;
use crate::{
    error::{Error, Result},
    schedule::MOST_TIMESTEPS,
};
use serde::{Deserialize, Serialize};

/// Everything that determines a [`CategoricalProcess`] but its number of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSpec {
    /// The family of a_t.
    pub kind: ProcessKind,
    /// T, at least 1.
    pub timesteps: usize,
}

/// The families of a_t.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessKind {
    /// 1 - t/T.
    #[default]
    Linear,
}

impl ProcessSpec {
    /// The process over `classes` classes, at least 2.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when `classes` or T is out of range.
    pub fn process(&self, classes: usize) -> Result<CategoricalProcess> {
        if !(1..=MOST_TIMESTEPS).contains(&self.timesteps) {
            let expected = format!("1..={MOST_TIMESTEPS}");
            return Err(Error::argument("timesteps", self.timesteps, expected));
        }
        match self.kind {
            ProcessKind::Linear => CategoricalProcess::linear(classes, self.timesteps),
        }
    }
}

/// How much x_s keeps of x_t: rho in [0, 1] times the most it may
/// ([`CategoricalProcess::most_stay`]). In a configuration `zero`, `most`, or the number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Stay(f64);

impl Stay {
    /// rho = 0: x_s depends on x_0 alone.
    pub const ZERO: Stay = Stay(0.0);
    /// rho = 1: nothing is drawn afresh, DDIM's end.
    pub const MOST: Stay = Stay(1.0);

    /// The fraction `rho`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless it is in [0, 1].
    pub fn new(rho: f64) -> Result<Self> {
        match (0.0..=1.0).contains(&rho) {
            true => Ok(Stay(rho)),
            false => Err(Error::argument("rho", rho, "a fraction in [0, 1]")),
        }
    }

    /// rho.
    pub fn rho(self) -> f64 {
        self.0
    }
}

/// [`Stay`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"zero\", \"most\" or a fraction in [0, 1]")]
enum Form {
    Rho(f64),
    Name(String),
}

impl TryFrom<Form> for Stay {
    type Error = Error;

    fn try_from(form: Form) -> Result<Self> {
        let refused = |value: &str| {
            Err(Error::argument("stay", value, "\"zero\", \"most\" or a fraction in [0, 1]"))
        };
        match form {
            Form::Rho(rho) => Stay::new(rho).or_else(|_| refused(&rho.to_string())),
            Form::Name(name) if name == "zero" => Ok(Stay::ZERO),
            Form::Name(name) if name == "most" => Ok(Stay::MOST),
            Form::Name(name) => refused(&name),
        }
    }
}

impl From<Stay> for Form {
    fn from(stay: Stay) -> Form {
        match stay {
            Stay::ZERO => Form::Name("zero".into()),
            Stay::MOST => Form::Name("most".into()),
            Stay(rho) => Form::Rho(rho),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Asked {
        stay: Stay,
    }

    #[test]
    fn a_stay_is_a_word_or_a_fraction_and_survives_being_written() {
        for (text, rho) in [
            ("stay = \"zero\"", 0.0),
            ("stay = \"most\"", 1.0),
            ("stay = 0.25", 0.25),
            ("stay = 1", 1.0),
            ("stay = 0.0", 0.0),
        ] {
            let asked: Asked = toml::from_str(text).unwrap();
            assert_eq!(asked.stay.rho(), rho, "{text}");
            let again: Asked = toml::from_str(&toml::to_string(&asked).unwrap()).unwrap();
            assert_eq!(again, asked, "{text}");
        }
        assert_eq!(toml::to_string(&Asked { stay: Stay::MOST }).unwrap(), "stay = \"most\"\n");
        for text in ["stay = \"some\"", "stay = 1.5", "stay = -0.1", "stay = nan", "stay = [1]"] {
            let message = toml::from_str::<Asked>(text).unwrap_err().to_string();
            assert!(message.contains("\"most\" or a fraction"), "{text}: {message}");
        }
        assert!(Stay::new(f64::NAN).is_err() && Stay::new(1.0).is_ok());
    }

    #[test]
    fn a_process_is_built_as_specified_or_refused_by_name() {
        let spec = |timesteps| ProcessSpec { kind: ProcessKind::Linear, timesteps };
        let process = spec(50).process(3).unwrap();
        assert_eq!(process, CategoricalProcess::linear(3, 50).unwrap());
        for timesteps in [0, MOST_TIMESTEPS + 1] {
            let message = spec(timesteps).process(3).unwrap_err().to_string();
            assert!(message.starts_with("timesteps = "), "{message}");
        }
        assert!(spec(50).process(1).is_err());
        let text = "kind = \"linear\"\ntimesteps = 50\n";
        assert_eq!(toml::to_string(&spec(50)).unwrap(), text);
        assert_eq!(toml::from_str::<ProcessSpec>(text).unwrap(), spec(50));
    }
}
