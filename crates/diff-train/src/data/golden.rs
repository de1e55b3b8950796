//! The fixtures that tests/golden/pictures.py writes.

use super::Pixels;
use candle_core::{Device, Tensor};
use std::{collections::HashMap, path::Path};

pub(super) struct Golden(HashMap<String, Tensor>);

impl Golden {
    pub(super) fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let path = folder.join(format!("{name}.safetensors"));
        Golden(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    pub(super) fn names(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> =
            self.0.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        names.sort();
        names
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        let tensor = self.0.get(name).unwrap_or_else(|| panic!("no {name} in the fixture"));
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    pub(super) fn pixels(&self, name: &str) -> Pixels {
        let bytes = self.bytes(name);
        let [height, width, channels] = match *self.0[name].dims() {
            [height, width] => [height, width, 1],
            [height, width, channels] => [height, width, channels],
            _ => panic!("{name} is no picture"),
        };
        Pixels { height, width, channels, bytes }
    }
}
